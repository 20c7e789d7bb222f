"""Twice as much as a server can do, and whoever is refused comes back when he was told to."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from load_tests.bench import load
from load_tests.bench.arrivals import poisson
from load_tests.bench.exchange import Response
from load_tests.bench.histogram import Histogram
from load_tests.bench.machine import Usage, UsageMeter
from load_tests.bench.marked import marked
from load_tests.bench.measures import Fate, percentile
from load_tests.bench.memory import Memory, sampled
from load_tests.bench.runner import SEED
from load_tests.bench.server import Server, Terms
from load_tests.bench.session import Session
from load_tests.bench.stand import Stand

_PEAK_LOADS = (80, 100)
_CAPACITY_SECONDS = 20.0
_MEMORY_EVERY_S = 1.0
AT_ONCE_S = 0.01
"""What a refusal may take; also a bound of the server's own histogram."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverloadPlan:
    """How an overload is made.

    Attributes:
        seconds: of it, and of each measurement of the peak.
        warm_up_seconds: load before all that is not counted.
        load: arrivals, in % of capacity; who comes back comes on top of them.
        capacity: images a second; None: measured first, by 16 clients.
        slo_ms: every request's deadline; a later answer is no goodput.
        stat_share: share of the arrivals that ask with priority stat.
    """

    seconds: float
    warm_up_seconds: float
    load: int = 200
    capacity: float | None
    slo_ms: float
    stat_share: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request sent; a client that was refused and came back is two.

    Attributes:
        stat: it asked with priority stat.
        returned: it had been refused before, and came when it was told to.
        lag_s: how long after it was due it was sent: the load generator's fault.
        latency_s: from when it was due to its end.
        ended_s: from the start of the measurement to its end.
        status: of HTTP; 0 if there was no response.
        retry_after_s: what a refusal told; None: it told nothing.
    """

    stat: bool
    returned: bool
    lag_s: float
    latency_s: float
    ended_s: float
    fate: Fate
    status: int
    retry_after_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Overload:
    """What became of it all.

    Attributes:
        capacity: images a second.
        peak: % of capacity → answers within the SLO a second.
        visits: every request of the overload.
        too_late: clients whose time to come back was after its end; they did not.
        refused_inside: the server's own time for refusals, from the request's head to the answer.
    """

    server: str
    slo_ms: float
    seconds: float
    offered_rate: float
    capacity: float
    peak: dict[int, float] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    too_late: int = 0
    memory: Memory = field(default_factory=Memory)
    refused_inside: Histogram = field(default_factory=Histogram)
    usages: list[Usage] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The figures, for the result file."""
        visits, slo_s = self.visits, self.slo_ms / 1e3

        def good(some: list[Visit]) -> int:
            return sum(v.fate is Fate.ANSWERED and v.latency_s <= slo_s for v in some)

        goodput = good([v for v in visits if v.ended_s <= self.seconds]) / self.seconds
        peak = max(self.peak.values())
        refused_ms = [v.latency_s * 1e3 for v in visits if v.fate is Fate.REFUSED]
        late_ms = [(v.latency_s - slo_s) * 1e3 for v in visits if v.status == 504]
        answered_ms = [v.latency_s * 1e3 for v in visits if v.fate is Fate.ANSWERED]
        stat = [v for v in visits if v.stat and not v.returned]
        others = [v for v in visits if not v.stat and not v.returned]
        statuses = Counter(str(v.status) if v.status else v.fate.value for v in visits)
        return {
            "server": self.server,
            "capacity": round(self.capacity, 2),
            "offered_rate": round(self.offered_rate, 2),
            "peak_goodput_rates": {str(load): rate for load, rate in self.peak.items()},
            "goodput_rate": goodput,
            "goodput_of_peak": goodput / peak if peak else None,
            "requests": len(visits),
            "statuses": dict(sorted(statuses.items())),
            "answered_ms": _spread(answered_ms),
            "refusal_ms": _spread(refused_ms),
            "refusal_inside": {
                "count": self.refused_inside.count,
                "mean_ms": self.refused_inside.mean_ms(),
                "share_within_10_ms": self.refused_inside.share_within(AT_ONCE_S),
            },
            "lag_ms": _spread([v.lag_s * 1e3 for v in visits]),
            "after_deadline_ms_of_504": _spread(late_ms),
            "returned": self._of_returned(),
            "stat": {
                "arrivals": len(stat),
                "goodput_share": _share(good(stat), len(stat)),
                "goodput_share_of_the_others": _share(good(others), len(others)),
            },
            "memory": self.memory.as_dict(),
            "usage": [usage.as_dict() for usage in self.usages],
        }

    def _of_returned(self) -> dict[str, Any]:
        back = [v for v in self.visits if v.returned]
        answered = sum(v.fate is Fate.ANSWERED for v in back)
        refused = sum(v.fate is Fate.REFUSED for v in back)
        return {
            "clients": len(back),
            "answered": answered,
            "refused_again": refused,
            "otherwise": len(back) - answered - refused,
            "answered_share": _share(answered, len(back)),
            "not_refused_share": _share(len(back) - refused, len(back)),
            "told_to_come_after_the_end": self.too_late,
        }


async def overload(server: Server, stand: Stand, plan: OverloadPlan) -> Overload:
    """Capacity, peak goodput, then the overload, of one server in one process.

    Raises:
        NotStarted, Disagrees, BadResponse, OSError: as of any session.
    """
    stand.tell(f"{server.name}: starting")
    async with stand.asked(server, slo_ms=plan.slo_ms) as asked:
        stand.tell(f"{server.name}: capacity")
        capacity = await capacity_of(
            asked, known=plan.capacity, warm_up_seconds=plan.warm_up_seconds, seconds=plan.seconds
        )
        rate = capacity * plan.load / 100
        found = Overload(
            server=server.name,
            slo_ms=plan.slo_ms,
            seconds=plan.seconds,
            offered_rate=rate,
            capacity=capacity,
        )
        for percent in _PEAK_LOADS:
            stand.tell(f"{server.name}: {percent} % of {capacity:.1f}/s")
            measured = await asked.open(
                rate=capacity * percent / 100, seconds=plan.seconds, seed=SEED
            )
            found.peak[percent] = measured.summary.goodput_rate
            found.usages.append(measured.usage)
        stand.tell(f"{server.name}: {plan.load} % of {capacity:.1f}/s")
        before = await _refused_inside(asked)
        meter = UsageMeter(asked.process)
        async with sampled(asked.process, every_s=_MEMORY_EVERY_S) as found.memory:
            await Crowd(asked, plan, rate, found).come()
        found.usages.append(meter.read())
        found.refused_inside = await _refused_inside(asked) - before
    return found


async def _refused_inside(asked: Session) -> Histogram:
    exposition = await asked.get("/metrics")
    labels = {"status": "429", "route": "/v1/predict"}
    return Histogram.read(exposition, "cxrserve_http_request_seconds", **labels)


async def capacity_of(
    asked: Session, *, known: float | None, warm_up_seconds: float, seconds: float
) -> float:
    """Images a second with 16 clients, unless it is known; the server is warm afterwards."""
    await asked.warm_up(seconds=warm_up_seconds)
    if known is not None:
        return known
    measured = await asked.closed(clients=16, seconds=min(seconds, _CAPACITY_SECONDS))
    await asked.settle()
    # A server that answered nothing is still asked, and seen to answer nothing.
    return max(measured.summary.answered_rate, 1.0)


class Crowd:
    """Those who come: each with an image of his own, back once if he is refused."""

    def __init__(self, asked: Session, plan: OverloadPlan, rate: float, found: Overload) -> None:
        self._asked, self._plan, self._found = asked, plan, found
        self._schedule = poisson(rate=rate, seconds=plan.seconds, seed=SEED)
        rng = np.random.default_rng(SEED)
        self._is_stat = rng.random(len(self._schedule)) < plan.stat_share

    async def come(self) -> None:
        """Everybody at his time."""
        await load.at_times(self._schedule, self._visit)

    async def _visit(self, place: int, due: float, start: float) -> None:
        images, stat = self._asked.subject.images, bool(self._is_stat[place])
        image = marked(images[place % len(images)], f"request {place:08}")
        terms = Terms(deadline_ms=self._plan.slo_ms, priority="stat" if stat else "")
        ask = partial(self._ask, image, terms, start=start)
        first = await ask(due, returned=False)
        if first.retry_after_s is None:
            return
        back_at = start + first.ended_s + first.retry_after_s
        if back_at > start + self._plan.seconds:
            # After the end anybody would be let in.
            self._found.too_late += 1
            return
        await asyncio.sleep(max(0.0, back_at - time.perf_counter()))
        await ask(back_at, returned=True)

    async def _ask(
        self, image: bytes, terms: Terms, due: float, *, start: float, returned: bool
    ) -> Visit:
        request = self._asked.request(image, terms)
        sent = time.perf_counter()
        reply = await self._asked.client.ask(request)
        ended = time.perf_counter()
        refused = reply.response if reply.fate is Fate.REFUSED else None
        visit = Visit(
            stat=terms.priority == "stat",
            returned=returned,
            lag_s=sent - due,
            latency_s=ended - due,
            ended_s=ended - start,
            fate=reply.fate,
            status=reply.status,
            retry_after_s=None if refused is None else _retry_after_s(refused),
        )
        self._found.visits.append(visit)
        return visit


def _retry_after_s(response: Response) -> float | None:
    told = response.headers.get("retry-after", "")
    return float(told) if told.isdigit() else None


def _spread(values: list[float]) -> dict[str, float | None]:
    return {
        "count": len(values),
        "p50": percentile(values, 50),
        "p99": percentile(values, 99),
        "max": max(values, default=None),
    }


def _share(count: int, of: int) -> float | None:
    return count / of if of else None
