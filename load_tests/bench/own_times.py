"""What a server says of its own times: where a request spends them, what batches take."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import numpy as np

from cxrserve.engines.latency import LatencyTable
from load_tests.bench.exchange import BadResponse
from load_tests.bench.measures import Fate
from load_tests.bench.server import Terms
from load_tests.bench.session import Session

_IDLE_REQUESTS = 40
_LOOK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Where the time of a request goes when nobody else asks; medians in seconds.

    Attributes:
        outside_s: HTTP: before the server's own clock starts, and after it ends.
        host_s: reading the image.
        batch_s: the network, for one image.
        noise: standard deviation of the logarithm of `batch_s`.
        inside_s: the rest of what the server counts.
    """

    outside_s: float
    host_s: float
    batch_s: float
    noise: float
    inside_s: float


async def idle_of(asked: Session) -> Idle:
    """Ask one after the other.

    Raises:
        BadResponse: a request was not answered.
    """
    images, rows = asked.subject.images, []
    for number in range(_IDLE_REQUESTS):
        request = asked.request(images[number % len(images)], Terms())
        sent = time.perf_counter()
        reply = await asked.client.ask(request)
        latency_ms = (time.perf_counter() - sent) * 1e3
        if reply.fate is not Fate.ANSWERED or reply.response is None:
            raise BadResponse(f"{asked.server.name} answered {reply.status} although nobody waited")
        told = json.loads(reply.response.body)["timings_ms"]
        rest = told["total"] - told["decode"] - told["queue"] - told["inference"]
        rows.append((latency_ms - told["total"], told["decode"], told["inference"], rest))
    outside, host, batch, inside = (
        statistics.median(column) / 1e3 for column in zip(*rows, strict=True)
    )
    logs = np.log([row[2] for row in rows])
    # Half the distance of the quartiles, in deviations of a normal distribution: one batch that
    # was interrupted does not make all of them noisy.
    noise = float(np.subtract(*np.percentile(logs, (75, 25)))) / 1.349
    return Idle(outside_s=outside, host_s=host, batch_s=batch, noise=noise, inside_s=inside)


def mean_table(tables: Sequence[LatencyTable]) -> LatencyTable:
    """Of each size the geometric mean: the service forgets within some ten batches."""
    return LatencyTable(
        {
            size: statistics.geometric_mean(table.seconds(size) for table in tables)
            for size in tables[0].sizes
        }
    )


@asynccontextmanager
async def learning(asked: Session) -> AsyncIterator[list[LatencyTable]]:
    """What the server says that its batches take, every 2 s while the context lasts."""
    tables: list[LatencyTable] = []

    async def look() -> None:
        detail = json.loads(await asked.get(f"/v1/models/{asked.subject.model}"))
        tables.append(LatencyTable.from_dict(detail["latency"]))

    async def keep_looking() -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await look()

    task = asyncio.create_task(keep_looking())
    try:
        yield tables
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await look()
