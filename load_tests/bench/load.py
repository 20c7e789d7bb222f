"""Generates load and notes what becomes of every request.

Speaks to a server through `Connection`, so that another protocol is another implementation of it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from load_tests.bench.exchange import BadResponse, Connection, Request, Response
from load_tests.bench.measures import Fate, Outcome

_REFUSALS = (429, 503)
_OK = 200

Connect = Callable[[], Awaitable[Connection]]
Act = Callable[[int, float, float], Coroutine[None, None, None]]
"""What is done when a request is due: its place in the schedule, when it is due, and when the
schedule began; times as `time.perf_counter` has them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a request, and the response if there was a whole one."""

    fate: Fate
    response: Response | None = None

    @property
    def status(self) -> int:
        """The status code; 0 if there was no response."""
        return self.response.status if self.response else 0


class Client:
    """Asks over kept connections, opening another where all are busy.

    Args:
        connect: opens a connection.
        patience_s: seconds after which a request is given up.
    """

    def __init__(self, connect: Connect, *, patience_s: float) -> None:
        self._connect, self._patience_s = connect, patience_s
        self._idle: list[Connection] = []
        self._surplus = 0

    @property
    def surplus(self) -> int:
        """Bytes that servers sent unasked: answers that came twice."""
        return self._surplus + sum(connection.surplus for connection in self._idle)

    async def ask(self, request: Request) -> Reply:
        """Ask, and say what became of it."""
        try:
            async with asyncio.timeout(self._patience_s):
                response = await self._ask(request)
        except TimeoutError:
            return Reply(Fate.GIVEN_UP)
        except BadResponse:
            return Reply(Fate.FAILED)
        except OSError:
            return Reply(Fate.DROPPED)
        if response.status == _OK:
            return Reply(Fate.ANSWERED, response)
        return Reply(Fate.REFUSED if response.status in _REFUSALS else Fate.FAILED, response)

    def close(self) -> None:
        """End all connections."""
        for connection in self._idle:
            self._surplus += connection.surplus
            connection.close()
        self._idle.clear()

    async def _ask(self, request: Request) -> Response:
        connection = await self._free_connection()
        response = await connection.ask(request)
        if connection.is_open:
            self._idle.append(connection)
        else:
            self._surplus += connection.surplus
        return response

    async def _free_connection(self) -> Connection:
        # The last used first: servers close what was idle for some seconds.
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
            self._surplus += connection.surplus
        return await self._connect()


async def closed_loop(
    client: Client, requests: Sequence[Request], *, clients: int, seconds: float
) -> list[Outcome]:
    """`clients` that each send the next request when the last was answered.

    Returns:
        What ended within `seconds`; what was in flight then is waited for, but not counted.
    """
    source = itertools.cycle(requests)
    outcomes: list[Outcome] = []

    async def one_client(start: float) -> None:
        while (sent := time.perf_counter()) - start < seconds:
            reply = await client.ask(next(source))
            ended = time.perf_counter()
            outcomes.append(Outcome(reply.fate, ended - sent, ended - start))
            if reply.fate is Fate.DROPPED:
                # A server that accepts nothing must not turn this into a spin.
                await asyncio.sleep(0.01)

    with _without_garbage_collection():
        start = time.perf_counter()
        await asyncio.gather(*(one_client(start) for _ in range(clients)))
    return [one for one in outcomes if one.ended_s <= seconds]


async def at_times(schedule: Sequence[float], act: Act) -> None:
    """Begin `act` at each scheduled time, whatever has become of those before; wait for all.

    Args:
        schedule: seconds from now, ascending.
        act: see `Act`.
    """
    with _without_garbage_collection():
        start = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for place, due in enumerate(schedule):
                await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
                tasks.create_task(act(place, start + due, start))


async def open_loop(
    client: Client, requests: Sequence[Request], schedule: Sequence[float]
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

    async def one_request(place: int, due: float, start: float) -> None:
        reply = await client.ask(requests[place % len(requests)])
        ended = time.perf_counter()
        outcomes.append(Outcome(reply.fate, ended - due, ended - start))

    await at_times(schedule, one_request)
    return outcomes


async def burst(client: Client, requests: Sequence[Request], *, size: int) -> list[Outcome]:
    """`size` requests at once."""
    return await open_loop(client, requests, [0.0] * size)


async def in_turn(client: Client, requests: Sequence[Request], *, count: int) -> list[Outcome]:
    """`count` requests, each after the last one's answer."""
    outcomes: list[Outcome] = []
    start = time.perf_counter()
    for request in itertools.islice(itertools.cycle(requests), count):
        sent = time.perf_counter()
        reply = await client.ask(request)
        ended = time.perf_counter()
        outcomes.append(Outcome(reply.fate, ended - sent, ended - start))
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
