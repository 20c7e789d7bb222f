"""Replicas behind HAProxy, and what is done to them; what is done and seen is written down."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from load_tests.replicas.haproxy import HAProxy, NotRunning, Place, Replays, running
from load_tests.replicas.kubernetes import Replacement
from load_tests.replicas.releases import MODEL
from load_tests.replicas.replica import Replica
from load_tests.replicas.sights import Mark, Sight, watched
from load_tests.replicas.unready import unready

_START_LIMIT_S = 120.0
_NOTICED_LIMIT_S = 15.0
_LOOK_EVERY_S = 0.1
_STOP_LIMIT_S = 40.0
_MANY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a fleet is made of.

    Attributes:
        count: replicas that serve; there is one place more.
        first_port: HAProxy takes this and the next for HTTP and gRPC, the replicas those behind.
        models_dir: models of all replicas.
        folder: for everything that is written; its path is short.
        python: interpreter of the serving environment.
        settings: environment of the replicas.
    """

    count: int
    first_port: int
    models_dir: Path
    folder: Path
    python: Path
    replacement: Replacement
    settings: dict[str, str]

    @property
    def places(self) -> list[Place]:
        """Of all replicas, the last one's free."""
        first = self.first_port + 4
        return [
            Place(f"r{number}", first + 2 * number, first + 2 * number + 1)
            for number in range(self.count + 1)
        ]

    @property
    def http(self) -> str:
        """HAProxy's address for HTTP."""
        return f"http://127.0.0.1:{self.first_port}"

    @property
    def grpc(self) -> str:
        """HAProxy's address for gRPC."""
        return f"127.0.0.1:{self.first_port + 1}"


class Fleet:
    """Replicas in places of which one is free, for the replica that comes before another goes.

    Args:
        replicas: by name, all places; those of `serving` run.
        say: told of every mark.
    """

    def __init__(
        self,
        replicas: dict[str, Replica],
        setting: Setting,
        *,
        serving: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        self.replicas, self.serving = replicas, list(serving)
        self.marks: list[Mark] = []
        self.sights: list[Sight] = []
        self._setting, self._replacement, self._say = setting, setting.replacement, say
        self._haproxy: HAProxy | None = None
        self._frozen: set[str] = set()
        self._leaving: set[str] = set()

    @contextmanager
    def behind_haproxy(self, replays: Replays, log: Path) -> Iterator[HAProxy]:
        """HAProxy before the replicas while the context lasts; marks and sights begin anew.

        Args:
            log: a file for a JSON line a request.

        Raises:
            NotRunning: it is not here or did not start.
        """
        self.marks.clear()
        self.sights.clear()
        with running(
            self._setting.places,
            http_port=self._setting.first_port,
            grpc_port=self._setting.first_port + 1,
            replays=replays,
            log=log,
            folder=self._setting.folder,
        ) as self._haproxy:
            for name in self.serving:
                self.haproxy.add(name)
            with watched(self._states, self.sights):
                yield self.haproxy

    @property
    def haproxy(self) -> HAProxy:
        """The one that runs."""
        assert self._haproxy is not None, "no HAProxy is running"
        return self._haproxy

    @property
    def free(self) -> str:
        """The name of the place where no replica serves."""
        return next(name for name in self.replicas if name not in self.serving)

    def run_with(self, settings: dict[str, str]) -> None:
        """Start all replicas anew, at once, unless they run with these settings; nobody may ask.

        Args:
            settings: besides those that all have.
        """
        changed = [self.replicas[name] for name in self.serving]
        changed = [one for one in changed if one.extra != settings]
        for one in self.replicas.values():
            one.extra = settings
        _end_all(changed)
        for one in changed:
            one.start()
        for one in changed:
            one.wait_until_ready(_START_LIMIT_S)

    def replace(self, name: str, *, models_dir: Path | None = None) -> str:
        """As a Deployment replaces a pod: the new one serves before the old one goes.

        Args:
            models_dir: models of the new one; None: those of the old one.

        Returns:
            The name of the new one.

        Raises:
            NotStarted: the new one did not become ready.
            subprocess.TimeoutExpired: the old one did not end within its grace period.
        """
        new = self.free
        coming = self.replicas[new]
        coming.models_dir = models_dir or self.replicas[name].models_dir
        self._mark(new, "starts")
        coming.start()
        coming.wait_until_ready(_START_LIMIT_S)
        self._mark(new, "ready")
        self.haproxy.add(new)
        time.sleep(self._replacement.min_ready_s)
        self._mark(name, "no endpoint")
        self.haproxy.remove(name)
        time.sleep(self._replacement.pre_stop_s)
        self._end(name)
        self.haproxy.forget(name)
        self.serving[self.serving.index(name)] = new
        return new

    def end_untold(self, name: str) -> tuple[float, float]:
        """SIGTERM without a word to HAProxy before; it is started again where it was.

        Returns:
            When it was told to end, and when it had ended.
        """
        told_at = time.time()
        self._end(name)
        ended_at = time.time()
        self._start_again(name)
        return told_at, ended_at

    def kill(self, name: str) -> float:
        """SIGKILL to all of a replica's processes; it is started again, as a kubelet does.

        It is done when the replica has requests in flight, so that there is something to lose.

        Returns:
            When that was.
        """
        give_up_at = time.monotonic() + _NOTICED_LIMIT_S
        in_flight = 0

        def at_work() -> bool:
            nonlocal in_flight
            in_flight = self.haproxy.in_flight(name)
            return in_flight >= _MANY or time.monotonic() > give_up_at

        killed_at = self.replicas[name].kill(when=at_work)
        self._mark(name, f"killed with {in_flight} in flight", killed_at)
        self._start_again(name)
        return killed_at

    def freeze(self, name: str, seconds: float) -> None:
        """Stop a replica where it stands, with its connections open, and let it go on."""
        self._mark(name, "frozen")
        self._frozen.add(name)
        self.replicas[name].freeze()
        try:
            time.sleep(seconds)
        finally:
            self.replicas[name].thaw()
            self._frozen.discard(name)
        self._mark(name, "goes on")
        self._wait_for(name, "UP")

    def flap(self, name: str, seconds: float) -> None:
        """Let a replica's readiness be false for HAProxy for a while; it serves on."""
        port = self._setting.first_port + 2
        with unready(port):
            self._mark(name, "not ready")
            self.haproxy.check_at(name, port)
            self._wait_for(name, "DOWN")
            time.sleep(seconds)
            self.haproxy.check_at(name, None)
        self._mark(name, "ready")
        self._wait_for(name, "UP")

    def load(self, name: str) -> None:
        """Have a replica load the packages of its folder anew, over the Open Inference Protocol."""
        self._mark(name, "loads")
        url = f"{self.replicas[name].url}/v2/repository/models/{MODEL}/load"
        request = urllib.request.Request(url, method="POST", data=b"{}")  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=_START_LIMIT_S) as answer:  # noqa: S310
            answer.read()
        self._mark(name, "loaded")

    def _states(self) -> dict[str, str]:
        seen = self.haproxy.states()
        return {name: self._state(name, one, seen[name]) for name, one in self.replicas.items()}

    def _state(self, name: str, replica: Replica, seen: str) -> str:
        if name in self._frozen:
            return "frozen"
        if not replica.is_running:
            return "absent"
        if name in self._leaving:
            return "leaving"
        if seen.startswith("MAINT"):
            return "starting"
        if seen.startswith("DRAIN"):
            return "draining"
        return "serving" if seen.startswith("UP") else "down"

    def _start_again(self, name: str) -> None:
        self._mark(name, "starts")
        self.replicas[name].start()
        self.replicas[name].wait_until_ready(_START_LIMIT_S)
        self._mark(name, "ready")
        self._wait_for(name, "UP")

    def _end(self, name: str) -> None:
        self._mark(name, "SIGTERM")
        self._leaving.add(name)
        self.replicas[name].terminate()
        code = self.replicas[name].wait_until_ended(self._replacement.grace_s)
        self._leaving.discard(name)
        self._mark(name, f"ended with {code}" if code else "ended")

    def _wait_for(self, name: str, state: str) -> None:
        give_up_at = time.monotonic() + _NOTICED_LIMIT_S
        # "UP 1/2" is on its way down.
        while (seen := self.haproxy.states()[name]) != state:
            if time.monotonic() > give_up_at:
                raise NotRunning(f"HAProxy holds {name} for {seen}, not {state}")
            time.sleep(_LOOK_EVERY_S)

    def _mark(self, name: str, what: str, at: float | None = None) -> None:
        self.marks.append(Mark(at or time.time(), name, what))
        self._say(f"{name} {what}")


@contextmanager
def started(setting: Setting, say: Callable[[str], None]) -> Iterator[Fleet]:
    """Replicas that are ready, and in the end have ended.

    Raises:
        NotStarted: a replica did not become ready.
    """
    replicas = {place.name: _replica(place, setting) for place in setting.places}
    serving = list(replicas)[: setting.count]
    try:
        for name in serving:
            say(f"{name} starts")
            replicas[name].start()
        for name in serving:
            replicas[name].wait_until_ready(_START_LIMIT_S)
        yield Fleet(replicas, setting, serving=serving, say=say)
    finally:
        _end_all(list(replicas.values()))


def _replica(place: Place, setting: Setting) -> Replica:
    folder = setting.folder / place.name
    folder.mkdir(parents=True)
    return Replica(
        place,
        models_dir=setting.models_dir,
        folder=folder,
        settings=setting.settings,
        python=setting.python,
    )


def _end_all(replicas: Sequence[Replica]) -> None:
    for one in replicas:
        if one.is_running:
            one.terminate()
    for one in replicas:
        if one.is_running:
            with suppress(subprocess.TimeoutExpired):
                one.wait_until_ended(_STOP_LIMIT_S)
        if one.is_running:
            one.kill()
