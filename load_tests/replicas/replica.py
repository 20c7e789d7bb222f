"""One replica: `cxrserve serve` on ports that stay its own, as a pod's container would run it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from load_tests.bench.processes import KEPT_VARIABLES, NotStarted, family
from load_tests.replicas.haproxy import Place

ROOT = Path(__file__).resolve().parents[2]
_PROBE_EVERY_S = 0.1
_PROBE_LIMIT_S = 2.0
_SOON_S = 0.001
_GONE_LIMIT_S = 10.0
_LOG_CHARACTERS = 4000


class Replica:
    """One replica, running or not.

    Args:
        place: its name and ports.
        models_dir: its models.
        folder: its own: cache, temporary files, log.
        settings: its environment beyond that.
        python: interpreter of the serving environment.

    Attributes:
        models_dir, extra: models, and settings besides, with which it is started next.
    """

    def __init__(
        self,
        place: Place,
        *,
        models_dir: Path,
        folder: Path,
        settings: dict[str, str],
        python: Path,
    ) -> None:
        self.place, self.models_dir = place, models_dir
        self.extra: dict[str, str] = {}
        self.log = folder / "log"
        self._folder, self._settings, self._python = folder, settings, python
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its own HTTP address, past HAProxy."""
        return f"http://127.0.0.1:{self.place.http_port}"

    @property
    def is_running(self) -> bool:
        """Its first process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; it is not ready yet.

        Raises:
            NotStarted: somebody else is at its port.
        """
        assert not self.is_running, f"{self.place.name} is running"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.place.http_port), 1):
            raise NotStarted(f"port {self.place.http_port} is taken")
        temporary = self._folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [str(self._python), "-m", "cxrserve.cli", "serve"],
                cwd=ROOT,
                env=self._environment(temporary),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self, limit_s: float) -> None:
        """As a readiness probe does.

        Raises:
            NotStarted: it ended, or was not ready in time; the message ends with its log.
        """
        give_up_at = time.monotonic() + limit_s
        while self.is_running and time.monotonic() < give_up_at:
            if self.is_ready():
                return
            time.sleep(_PROBE_EVERY_S)
        log = self.log.read_text("utf-8", "replace")[-_LOG_CHARACTERS:]
        raise NotStarted(f"{self.place.name} is not ready:\n{log}")

    def is_ready(self) -> bool:
        """What /readyz says now."""
        with (
            suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(f"{self.url}/readyz", timeout=_PROBE_LIMIT_S) as answer,  # noqa: S310 - loopback
        ):
            return bool(answer.status == 200)
        return False

    def terminate(self) -> None:
        """SIGTERM to its first process, as a kubelet does; it drains."""
        self._own().terminate()

    def wait_until_ended(self, limit_s: float) -> int:
        """The exit code.

        Raises:
            subprocess.TimeoutExpired: it lives still; a kubelet would kill it now.
        """
        return self._own().wait(limit_s)

    def kill(self, when: Callable[[], bool] = lambda: True) -> float:
        """SIGKILL to all its processes at once, as when a container ends.

        Args:
            when: asked again and again; it is done as soon as this holds.

        Returns:
            When it was done, in s since 1970.
        """
        processes = self._processes()
        while not when():
            time.sleep(_SOON_S)
        killed_at = time.time()
        _signal(processes, signal.SIGKILL)
        self._own().wait()
        # Its port is free when its worker is gone as well.
        psutil.wait_procs(processes, timeout=_GONE_LIMIT_S)
        return killed_at

    def freeze(self) -> None:
        """Stop all its processes where they stand; its sockets stay open."""
        _signal(self._processes(), signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        _signal(self._processes(), signal.SIGCONT)

    def resident_mib(self) -> float:
        """Of all its processes, in MiB."""
        mib = 0.0
        for one in self._processes():
            with suppress(psutil.Error):
                mib += one.memory_info().rss / 2**20
        return mib

    def _processes(self) -> list[psutil.Process]:
        """The supervisor first: killed first, it starts no worker anew."""
        return family(psutil.Process(self._own().pid))

    def _own(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.place.name} was not started"
        return self._process

    def _environment(self, temporary: Path) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        return {
            **kept,
            # This checkout's, whichever the environment was made for.
            "PYTHONPATH": str(ROOT / "src"),
            "TMPDIR": str(temporary),
            "CXRSERVE_HOST": "127.0.0.1",
            "CXRSERVE_HTTP_PORT": str(self.place.http_port),
            "CXRSERVE_GRPC_PORT": str(self.place.grpc_port),
            "CXRSERVE_MODELS_DIR": str(self.models_dir),
            "CXRSERVE_CACHE_DIR": str(self._folder / "cache"),
            **self._settings,
            **self.extra,
        }


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(number)
