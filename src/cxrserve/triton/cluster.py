"""Several Tritons that hold the same models: who is asked, who is watched, who is left alone."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from cxrserve.engines.engine import Errand
from cxrserve.errors import CxrError, EngineFailure, EngineUnavailable
from cxrserve.triton.endpoint import Call, Endpoint, Tensors

_log = logging.getLogger(__name__)

PROBE_EVERY_S = 0.5

PATIENCE = 2.0
"""An answer that takes this many times what it should …"""
LEAST_PATIENCE_S = 0.2
"""… and this long beyond it (schedulers and garbage collectors take their time) is slow."""
DOUBT_LIMIT_S = 0.25
"""Who is slow and does not even say within this that he is ready, hangs."""

Clock = Callable[[], float]


class Delegate(Protocol):
    """A model that the Tritons hold for us."""

    @property
    def model(self) -> str:
        """Its name there."""

    async def verify(self, endpoint: Endpoint, *, by_running: bool) -> None:
        """See that the endpoint holds this very model; `by_running`: and that it works.

        Raises:
            BrokenPackage: it holds another one, or one that is set up as ours is not.
            EngineFailure: it does not work.
        """

    def is_out_of_reach(self) -> None:
        """No endpoint takes it any more."""


class Cluster:
    """Tritons by address. All but the constructor is used from one event loop.

    Each is probed twice a second. One that is left alone is let in again when it answers every
    model's probe image as it should.

    Args:
        addresses: `host:port` of each one's gRPC service.
        ca: PEM certificates that theirs must come from; None: plain text.
        same_node: they share our /dev/shm.
        clock: seconds, monotonic; that of deadlines.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        ca: Path | None = None,
        same_node: bool = False,
        clock: Clock,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.endpoints = tuple(
            Endpoint(address, ca=ca, same_node=same_node, on_open=self._opened)
            for address in addresses
        )
        self.hedged = 0
        """Batches that a second endpoint was asked for as well."""
        self._clock = clock
        self._delegates: dict[str, Delegate] = {}
        self._turns = itertools.count()
        self._last_turn: dict[str, int] = {}
        self._watches: list[asyncio.Task[None]] = []
        self._doubts: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Probe all once, then watch them."""
        await asyncio.gather(*(self._probe(endpoint) for endpoint in self.endpoints))
        self._watches = [
            asyncio.ensure_future(self._watch(endpoint)) for endpoint in self.endpoints
        ]

    async def close(self) -> None:
        """End the watches and the connections."""
        tasks = [*self._watches, *self._doubts.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(endpoint.close() for endpoint in self.endpoints))

    async def add(self, delegate: Delegate) -> None:
        """Serve a model from now on, where an endpoint that works holds it."""
        self._delegates[delegate.model] = delegate
        for endpoint in self.endpoints:
            works = endpoint.circuit.lets_through
            if works and not await self._admit(delegate, endpoint, by_running=True):
                self._refuse(delegate, endpoint, endpoint.trouble)

    def remove(self, delegate: Delegate) -> None:
        """Serve a model no more, unless another of its name has taken its place."""
        if self._delegates.get(delegate.model) is delegate:
            del self._delegates[delegate.model]

    def now(self) -> float:
        """On the clock of deadlines."""
        return self._clock()

    def reasons(self, model: str) -> list[str]:
        """Why each endpoint that does not take a model does not."""
        return [
            f"{one.address} " + one.refused.get(model, one.trouble)
            for one in self.endpoints
            if not one.takes(model)
        ]

    def takes(self, model: str) -> bool:
        """Whether any endpoint may be asked for this model now."""
        return any(endpoint.takes(model) for endpoint in self.endpoints)

    async def infer(self, call: Call, errand: Errand, *, gives_up: bool) -> Tensors:
        """Run a batch on the least busy endpoint; on another one too if it fails, or is slow.

        Args:
            call: the batch.
            errand: what it should take, and until when it is of use.
            gives_up: where no endpoint is left to ask, fail while there is time to compute it
                here; otherwise wait for who is slow until the deadline.

        Raises:
            EngineFailure: the images may be to blame.
            EngineUnavailable: no endpoint gave an answer.
        """
        race = _Race(call)
        patience_s = PATIENCE * errand.expected_s + LEAST_PATIENCE_S
        try:
            while (left_s := errand.deadline - self._clock()) > 0:
                endpoint = self._choose(call.model, race.asked)
                if endpoint is not None:
                    self.hedged += bool(race.running)
                    race.ask(endpoint, left_s)
                elif not race.running or (gives_up and race.is_slow):
                    break
                limit_s = left_s if endpoint is None else min(patience_s, left_s / 2)
                given = await race.first(limit_s)
                if given is not None:
                    return given
                if race.is_slow:
                    self._doubt(race.asked[-1])
            raise race.failure
        finally:
            race.end()

    def _choose(self, model: str, without: Sequence[Endpoint]) -> Endpoint | None:
        free = [one for one in self.endpoints if one.takes(model) and one not in without]
        if not free:
            return None
        # The least busy; of several, who has waited longest for a turn.
        chosen = min(free, key=lambda one: (one.in_flight, self._last_turn.get(one.address, -1)))
        self._last_turn[chosen.address] = next(self._turns)
        return chosen

    def _doubt(self, endpoint: Endpoint) -> None:
        if endpoint.address not in self._doubts:
            task = self._doubts[endpoint.address] = asyncio.ensure_future(self._look(endpoint))
            task.add_done_callback(lambda _: self._doubts.pop(endpoint.address, None))

    async def _look(self, endpoint: Endpoint) -> None:
        if not await endpoint.is_ready(DOUBT_LIMIT_S):
            endpoint.trouble = "it hangs"
            endpoint.probed(works=False)

    async def _watch(self, endpoint: Endpoint) -> None:
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            try:
                await self._probe(endpoint)
            except Exception:  # noqa: BLE001 - without its watch it would never be asked again
                _log.exception("the probe of Triton at %s failed", endpoint.address)

    async def _probe(self, endpoint: Endpoint) -> None:
        circuit = endpoint.circuit
        ready = await endpoint.is_ready()
        if circuit.lets_through or not ready:
            endpoint.probed(works=ready)
            if ready:
                await self._admit_all(endpoint, by_running=False)
            return
        circuit.probing()
        try:
            await endpoint.learn()
            works = await self._admit_all(endpoint, by_running=True)
        except EngineUnavailable as error:
            endpoint.trouble, works = error.detail, False
        endpoint.probed(works=works)
        if works:
            _log.info("Triton at %s is asked from now on", endpoint.address)

    async def _admit_all(self, endpoint: Endpoint, *, by_running: bool) -> bool:
        worked = [
            await self._admit(delegate, endpoint, by_running=by_running)
            for delegate in tuple(self._delegates.values())
        ]
        return all(worked)

    async def _admit(self, delegate: Delegate, endpoint: Endpoint, *, by_running: bool) -> bool:
        """Let a model be asked there, or refuse it; whether the endpoint works."""
        before = endpoint.refused.get(delegate.model)
        if before is not None:
            by_running = True  # it was another model, or did not work
        try:
            await delegate.verify(endpoint, by_running=by_running)
        except EngineUnavailable as error:
            if not error.is_missing:
                endpoint.trouble = error.detail
                return False
            self._refuse(delegate, endpoint, error.detail)
        except EngineFailure as error:
            endpoint.trouble = error.detail
            return False
        except CxrError as error:
            self._refuse(delegate, endpoint, error.detail)
        else:
            endpoint.refused.pop(delegate.model, None)
        return True

    def _refuse(self, delegate: Delegate, endpoint: Endpoint, why: str) -> None:
        if endpoint.refused.get(delegate.model) != why:
            _log.error("%s is not asked at Triton %s: %s", delegate.model, endpoint.address, why)
        endpoint.refused[delegate.model] = why
        if not self.takes(delegate.model):
            delegate.is_out_of_reach()

    def _opened(self, endpoint: Endpoint) -> None:
        _log.error(
            "Triton at %s does not work and is left alone: %s", endpoint.address, endpoint.trouble
        )
        for delegate in tuple(self._delegates.values()):
            if not self.takes(delegate.model):
                delegate.is_out_of_reach()


class _Race:
    """One batch at the endpoints that were asked for it: the first answer counts."""

    def __init__(self, call: Call) -> None:
        self.asked: list[Endpoint] = []
        self.running: dict[asyncio.Task[Tensors], Endpoint] = {}
        self.failure: EngineFailure = EngineUnavailable(f"no Triton takes {call.model} now")
        self.is_slow = False
        """Whoever is asked still has had its time."""
        self._call = call

    def ask(self, endpoint: Endpoint, limit_s: float) -> None:
        self.asked.append(endpoint)
        self.running[endpoint.start(self._call, limit_s)] = endpoint
        self.is_slow = False

    async def first(self, limit_s: float) -> Tensors | None:
        """The first answer, if one comes within the limit and none fails before.

        Raises:
            EngineFailure: the images may be to blame, so that nobody else need be asked.
        """
        done, _ = await asyncio.wait(
            self.running, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            endpoint = self.running.pop(task)
            try:
                return task.result()
            except asyncio.CancelledError:  # with all that it was asked
                self.failure = EngineUnavailable(f"Triton at {endpoint.address} has gone")
            except EngineUnavailable as error:
                self.failure = error
        if not done:
            self.is_slow = True
            slow = self.asked[-1]
            slow.is_slow()
            self.failure = EngineUnavailable(f"Triton at {slow.address} is slow")
        return None

    def end(self) -> None:
        for task in self.running:
            task.cancel()
