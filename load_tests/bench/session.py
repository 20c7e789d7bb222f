"""One server, up and asked: started, checked for agreement, warmed, loaded."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from load_tests.bench import load
from load_tests.bench.arrivals import poisson
from load_tests.bench.exchange import BadResponse, Request
from load_tests.bench.http_client import HttpConnection, request_bytes
from load_tests.bench.machine import Usage, UsageMeter
from load_tests.bench.measures import Fate, Outcome, Summary, summarise
from load_tests.bench.processes import KEPT_VARIABLES, Pinning, free_ports, running
from load_tests.bench.server import Place, Probabilities, Server, Terms
from load_tests.bench.subject import Subject

_START_LIMIT_S = 120.0
_PATIENCE_S = 60.0
_SETTLE_LIMIT_S = 60.0


class Disagrees(Exception):
    """A server's probabilities are not those of the network."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement: what became of the requests, and who used the processor."""

    summary: Summary
    usage: Usage


class Session:
    """A running server and its client.

    Args:
        server: its description.
        place: where it runs.
        subject: what it is asked.
        process: its first process.
        slo_ms: what an answer must come within to count.
    """

    def __init__(
        self,
        server: Server,
        place: Place,
        subject: Subject,
        process: psutil.Process,
        *,
        slo_ms: float,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self.server, self.subject, self.process, self.slo_ms = server, subject, process, slo_ms
        self._place = place
        self.client = load.Client(lambda: server.connect(place), patience_s=patience_s)
        self._requests = self._built(Terms())

    def request(self, image: bytes, terms: Terms) -> Request:
        """The request for an image on these terms."""
        return self.server.ask(self.subject, image, terms)

    async def get(self, target: str) -> bytes:
        """What the server says at a path, over HTTP.

        Raises:
            BadResponse: not 200.
        """
        connection = await HttpConnection.open(self._place.http_port)
        async with asyncio.timeout(_PATIENCE_S):
            response = await connection.ask(Request(request_bytes("GET", target)))
        connection.close()
        if response.status != 200:
            raise BadResponse(f"{self.server.name} answered {response.status} to GET {target}")
        return response.body

    async def answers(self) -> list[Probabilities]:
        """The probabilities of every image, asked one after the other.

        Raises:
            Disagrees: an answer is no answer.
        """
        found = []
        for request in self._requests:
            connection = await self.server.connect(self._place)
            async with asyncio.timeout(_PATIENCE_S):
                response = await connection.ask(request)
            connection.close()
            if response.status != 200:
                body = response.body[:500].decode("utf-8", "replace")
                raise Disagrees(f"{self.server.name} answered {response.status}: {body}")
            found.append(self.server.read(response.body))
        return found

    async def warm_up(self, *, seconds: float, clients: int = 16) -> None:
        """Load that is not counted; batchers learn from it."""
        await load.in_turn(self.client, self._requests, count=8)
        await load.closed_loop(self.client, self._requests, clients=clients, seconds=seconds)

    async def closed(self, *, clients: int, seconds: float) -> Measured:
        """A closed loop; no request has a deadline."""
        meter = UsageMeter(self.process)
        outcomes = await load.closed_loop(
            self.client, self._requests, clients=clients, seconds=seconds
        )
        return self._measured(outcomes, seconds, meter)

    async def open(self, *, rate: float, seconds: float, seed: int) -> Measured:
        """An open loop; requests carry the SLO as their deadline where the server knows one."""
        schedule = poisson(rate=rate, seconds=seconds, seed=seed)
        meter = UsageMeter(self.process)
        outcomes = await load.open_loop(
            self.client, self._built(Terms(deadline_ms=self.slo_ms)), schedule
        )
        measured = self._measured(outcomes, seconds, meter)
        await self.settle()
        return measured

    async def quiet_then_burst(self, *, quiet: int, burst: int) -> Measured:
        """Requests one after the other, then many at once; only those are counted."""
        await load.in_turn(self.client, self._requests, count=quiet)
        meter = UsageMeter(self.process)
        outcomes = await load.burst(
            self.client, self._built(Terms(deadline_ms=self.slo_ms)), size=burst
        )
        return self._measured(outcomes, max(one.ended_s for one in outcomes), meter)

    async def settle(self) -> None:
        """Wait until nothing of the last load is left: two answers in turn within the SLO."""
        try:
            async with asyncio.timeout(_SETTLE_LIMIT_S):
                quick = 0
                while quick < 2:
                    (one,) = await load.in_turn(self.client, self._requests, count=1)
                    good = one.fate is Fate.ANSWERED and one.latency_s * 1e3 <= self.slo_ms
                    quick = quick + 1 if good else 0
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return

    def close(self) -> None:
        """End all connections."""
        self.client.close()

    def _built(self, terms: Terms) -> list[Request]:
        return [self.request(image, terms) for image in self.subject.images]

    def _measured(self, outcomes: list[Outcome], window_s: float, meter: UsageMeter) -> Measured:
        return Measured(summarise(outcomes, window_s=window_s, slo_ms=self.slo_ms), meter.read())


@asynccontextmanager
async def session(
    server: Server, subject: Subject, pinning: Pinning, *, slo_ms: float
) -> AsyncIterator[Session]:
    """Start a server, and end it and all that came of it.

    Raises:
        NotStarted: it did not become ready.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
        ExitStack() as afterwards,
    ):
        http_port, grpc_port = free_ports(2)
        afterwards.callback(_forget_shared_memory, http_port)
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        place = Place(
            cores=pinning.server_cores,
            http_port=http_port,
            grpc_port=grpc_port,
            scratch=scratch,
            slo_ms=slo_ms,
        )
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        async with running(
            pinning.command([str(server.python), *server.arguments(place)]),
            environment=kept | server.environment(place, subject),
            folder=scratch,
            log=Path(folder) / "log",
            ready_url=f"http://127.0.0.1:{http_port}{server.ready}",
            start_limit_s=_START_LIMIT_S,
        ) as process:
            asked = Session(server, place, subject, process, slo_ms=slo_ms)
            try:
                yield asked
            finally:
                asked.close()


def _forget_shared_memory(http_port: int) -> None:
    """Delete what Triton's Python backend, named by its port, does not always delete itself."""
    for forgotten in Path("/dev/shm").glob(f"bench-{http_port}-*"):  # noqa: S108 - Triton's place
        forgotten.unlink(missing_ok=True)
