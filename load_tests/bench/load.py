"""Generates load and notes what becomes of every request.

Speaks to a server through `Connection`, so that another protocol is another implementation of it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from load_tests.bench.http_client import BadResponse, Response
from load_tests.bench.measures import Fate, Outcome

_REFUSALS = (429, 503)
_OK = 200


class Connection(Protocol):
    """A connection to a server: one request at a time."""

    @property
    def is_open(self) -> bool:
        """Another request may be sent."""

    async def ask(self, request: bytes) -> Response:
        """Send a request, wait for its response; `ConnectionError` if there is none."""

    def close(self) -> None:
        """End the connection at once."""


Connect = Callable[[], Awaitable[Connection]]


class Client:
    """Asks over kept connections, opening another where all are busy.

    Args:
        connect: opens a connection.
        patience_s: seconds after which a request is given up.
    """

    def __init__(self, connect: Connect, *, patience_s: float) -> None:
        self._connect, self._patience_s = connect, patience_s
        self._idle: list[Connection] = []

    async def fate_of(self, request: bytes) -> Fate:
        """Ask, and say what became of it."""
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._ask(request)
        except TimeoutError:
            return Fate.GIVEN_UP
        except BadResponse:
            return Fate.FAILED
        except OSError:
            return Fate.DROPPED

    def close(self) -> None:
        """End all connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _ask(self, request: bytes) -> Fate:
        connection = await self._free_connection()
        response = await connection.ask(request)
        if connection.is_open:
            self._idle.append(connection)
        if response.status == _OK:
            return Fate.ANSWERED
        return Fate.REFUSED if response.status in _REFUSALS else Fate.FAILED

    async def _free_connection(self) -> Connection:
        # The last used first: servers close what was idle for some seconds.
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return await self._connect()


async def closed_loop(
    client: Client, requests: Sequence[bytes], *, clients: int, seconds: float
) -> list[Outcome]:
    """`clients` that each send the next request when the last was answered.

    Returns:
        What ended within `seconds`; what was in flight then is waited for, but not counted.
    """
    source = itertools.cycle(requests)
    outcomes: list[Outcome] = []
    start = time.perf_counter()

    async def one_client() -> None:
        while (sent := time.perf_counter()) - start < seconds:
            fate = await client.fate_of(next(source))
            ended = time.perf_counter()
            outcomes.append(Outcome(fate, ended - sent, ended - start))
            if fate is Fate.DROPPED:
                # A server that accepts nothing must not turn this into a spin.
                await asyncio.sleep(0.01)

    with _without_garbage_collection():
        await asyncio.gather(*(one_client() for _ in range(clients)))
    return [one for one in outcomes if one.ended_s <= seconds]


async def open_loop(
    client: Client, requests: Sequence[bytes], schedule: Sequence[float]
) -> list[Outcome]:
    """Send at the scheduled times, whatever has been answered.

    Args:
        client: asks.
        requests: sent in turn.
        schedule: seconds from the start, ascending.

    Returns:
        Every request; its latency counts from when it was due, so that a generator that comes
        late, or a connection that waits to be accepted, flatters nobody.
    """
    outcomes: list[Outcome] = []
    start = time.perf_counter()

    async def one_request(request: bytes, due: float) -> None:
        fate = await client.fate_of(request)
        ended = time.perf_counter()
        outcomes.append(Outcome(fate, ended - start - due, ended - start))

    with _without_garbage_collection():
        async with asyncio.TaskGroup() as tasks:
            for due, request in zip(schedule, itertools.cycle(requests), strict=False):
                await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
                tasks.create_task(one_request(request, due))
    return outcomes


async def burst(client: Client, requests: Sequence[bytes], *, size: int) -> list[Outcome]:
    """`size` requests at once."""
    return await open_loop(client, requests, [0.0] * size)


async def in_turn(client: Client, requests: Sequence[bytes], *, count: int) -> list[Outcome]:
    """`count` requests, each after the last one's answer."""
    outcomes: list[Outcome] = []
    start = time.perf_counter()
    for request in itertools.islice(itertools.cycle(requests), count):
        sent = time.perf_counter()
        fate = await client.fate_of(request)
        ended = time.perf_counter()
        outcomes.append(Outcome(fate, ended - sent, ended - start))
    return outcomes


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A collection in the load generator would be read as the server's latency."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
