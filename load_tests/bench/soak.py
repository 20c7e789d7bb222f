"""Half an hour at nine tenths of what a server can do: does it leak, slow down, mix up answers?"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from load_tests.bench import load
from load_tests.bench.arrivals import poisson
from load_tests.bench.machine import Usage, UsageMeter
from load_tests.bench.measures import Fate, percentile
from load_tests.bench.memory import Memory, sampled
from load_tests.bench.ours import probabilities_of
from load_tests.bench.overload import capacity_of
from load_tests.bench.runner import SEED
from load_tests.bench.server import Probabilities, Server, Terms
from load_tests.bench.stand import Stand, largest_difference

_MEMORY_EVERY_S = 10.0
_SETTLED_S = 120.0
"""Memory counts from here on: by then every buffer was made that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakPlan:
    """How long, and how much.

    Attributes:
        seconds: of the soak.
        warm_up_seconds: load before it that is not counted.
        load: arrivals, in % of capacity.
        capacity: images a second; None: measured first, by 16 clients.
        slo_ms: every request's deadline; a later answer is no goodput.
        tolerance: of a probability to what its image was answered when nobody else asked.
    """

    seconds: float
    warm_up_seconds: float
    load: int
    capacity: float | None
    slo_ms: float
    tolerance: float


class Marker:
    """Holds every answer against its question: whose it is, whether it is right, whether twice.

    Args:
        known: what each image is answered.
        tolerance: of a probability.
    """

    def __init__(self, known: Sequence[Probabilities], *, tolerance: float) -> None:
        self._known, self.tolerance = known, tolerance
        self._seen: set[str] = set()
        self.wrong_id = 0
        self.repeated_id = 0
        self.wrong_answer = 0
        self.unreadable = 0
        self.spread = 0.0
        """The largest difference of a right answer to what its image is answered."""

    @property
    def distinguishable(self) -> float:
        """The least difference of two images' answers; twice `spread` at least, or an answer that
        was mixed up could look like a right one."""
        pairs = [
            largest_difference([one], [other])
            for place, one in enumerate(self._known)
            for other in self._known[place + 1 :]
        ]
        return min(pairs, default=1.0)

    def mark(self, request_id: str, image: int, body: bytes) -> None:
        """Take one answer.

        Args:
            request_id: of the question.
            image: its place among the known.
            body: JSON.
        """
        try:
            answer = json.loads(body)
            told, seen = str(answer["id"]), probabilities_of(answer)
            differences = [largest_difference([seen], [one]) for one in self._known]
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it is no answer
            self.unreadable += 1
            return
        self.wrong_id += told != request_id
        self.repeated_id += told in self._seen
        self._seen.add(told)
        own = differences[image]
        if own > self.tolerance or own > min(differences):
            self.wrong_answer += 1
        else:
            self.spread = max(self.spread, own)


@dataclass(frozen=True, slots=True)
class Ended:
    """One request: when it was due, in s from the start; what became of it."""

    due_s: float
    latency_s: float
    fate: Fate
    status: int


@dataclass(slots=True, kw_only=True)
class Soak:
    """What became of it."""

    server: str
    capacity: float
    rate: float
    slo_ms: float
    seconds: float
    marker: Marker
    asked: int = 0
    surplus_bytes: int = 0
    ended: list[Ended] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    usage: Usage | None = None

    def as_dict(self) -> dict[str, Any]:
        """The figures, for the result file."""
        minutes = self._minutes()
        first, last = (minutes[place]["p99_ms"] if minutes else None for place in (0, -1))
        statuses = Counter(str(one.status) if one.status else one.fate.value for one in self.ended)
        since = self.settled_s()
        return {
            "server": self.server,
            "capacity": round(self.capacity, 2),
            "offered_rate": round(self.rate, 2),
            "seconds": self.seconds,
            "requests": self.asked,
            "statuses": dict(sorted(statuses.items())),
            "goodput_rate": sum(self._good(one) for one in self.ended) / self.seconds,
            # Every request ends: with a response of its own, or without any.
            "lost": self.asked - sum(one.status > 0 for one in self.ended),
            "surplus_bytes": self.surplus_bytes,
            "wrong_id": self.marker.wrong_id,
            "repeated_id": self.marker.repeated_id,
            "wrong_answer": self.marker.wrong_answer,
            "unreadable": self.marker.unreadable,
            "images_differ_by": self.marker.distinguishable,
            "answers_of_an_image_differ_by": self.marker.spread,
            "p99_ms_first_minute": first,
            "p99_ms_last_minute": last,
            "p99_change": last / first - 1 if first and last else None,
            "memory": self.memory.as_dict()
            | {"settled_s": since, "growth_since_settled": self.memory.growth(since_s=since)},
            "memory_samples": [(round(at, 1), round(mib, 1)) for at, mib in self.memory.samples],
            "usage": [] if self.usage is None else [self.usage.as_dict()],
            "minutes": minutes,
        }

    def settled_s(self) -> float:
        """From when memory counts: two minutes, or a third of a shorter soak."""
        return min(_SETTLED_S, self.seconds / 3)

    def _minutes(self) -> list[dict[str, float | None]]:
        """A row for each whole minute (of a shorter soak, for its third parts), by when due."""
        length = 60.0 if self.seconds >= 120 else self.seconds / 3
        rows = []
        for number in range(int(self.seconds / length + 1e-9)):
            begin = number * length
            ended = [one for one in self.ended if begin <= one.due_s < begin + length]
            answered_ms = [one.latency_s * 1e3 for one in ended if one.fate is Fate.ANSWERED]
            refused = sum(one.fate is Fate.REFUSED for one in ended)
            rows.append(
                {
                    "minute": (begin + length) / 60,
                    "requests": len(ended),
                    "answered": len(answered_ms),
                    "goodput_rate": sum(self._good(one) for one in ended) / length,
                    "p50_ms": percentile(answered_ms, 50),
                    "p99_ms": percentile(answered_ms, 99),
                    "refused": refused,
                    "otherwise": len(ended) - len(answered_ms) - refused,
                    "memory_mib": self.memory.at(begin + length),
                }
            )
        return rows

    def _good(self, one: Ended) -> bool:
        return one.fate is Fate.ANSWERED and one.latency_s * 1e3 <= self.slo_ms


async def soak(server: Server, stand: Stand, plan: SoakPlan) -> Soak:
    """One server in one process, for as long as planned.

    Raises:
        NotStarted, Disagrees, BadResponse, OSError: as of any session.
    """
    stand.tell(f"{server.name}: starting")
    async with stand.asked(server, slo_ms=plan.slo_ms) as asked:
        marker = Marker(await asked.answers(), tolerance=plan.tolerance)
        stand.tell(f"{server.name}: capacity")
        capacity = await capacity_of(
            asked,
            known=plan.capacity,
            warm_up_seconds=plan.warm_up_seconds,
            seconds=plan.seconds,
        )
        rate = capacity * plan.load / 100
        found = Soak(
            server=server.name,
            capacity=capacity,
            rate=rate,
            slo_ms=plan.slo_ms,
            seconds=plan.seconds,
            marker=marker,
        )
        stand.tell(f"{server.name}: {plan.seconds / 60:g} min at {rate:.1f}/s")
        images = asked.subject.images

        async def one_request(place: int, due: float, start: float) -> None:
            image, request_id = place % len(images), f"soak-{place:08}"
            terms = Terms(deadline_ms=plan.slo_ms, request_id=request_id)
            found.asked += 1
            reply = await asked.client.ask(asked.request(images[image], terms))
            latency_s = time.perf_counter() - due
            found.ended.append(Ended(due - start, latency_s, reply.fate, reply.status))
            if reply.fate is Fate.ANSWERED and reply.response is not None:
                marker.mark(request_id, image, reply.response.body)

        schedule = poisson(rate=rate, seconds=plan.seconds, seed=SEED)
        meter = UsageMeter(asked.process)
        async with sampled(asked.process, every_s=_MEMORY_EVERY_S) as found.memory:
            await load.at_times(schedule, one_request)
        found.usage = meter.read()
        found.surplus_bytes = asked.client.surplus
    return found
