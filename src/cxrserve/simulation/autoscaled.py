"""A load, a fleet and its autoscaler: was the SLO kept, how fast, and at what cost?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from cxrserve.batching.line import Priority
from cxrserve.simulation.arrivals import Crowd
from cxrserve.simulation.autoscaling.autoscaler import Autoscaler, Start
from cxrserve.simulation.autoscaling.manifests import Autoscaling
from cxrserve.simulation.callers import Callers
from cxrserve.simulation.device import Hardware
from cxrserve.simulation.dispatchers import Ours
from cxrserve.simulation.loads import Load
from cxrserve.simulation.replicas import BALANCERS
from cxrserve.simulation.world import Ending, Fate, Story, World

ENOUGH = 0.99
"""The SLO is kept where this share of requests is answered in time."""

QUEUE_SIZE = 256
"""`CXRSERVE_QUEUE_SIZE`, by default."""

_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What serves, and who asks.

    Attributes:
        hardware: of a replica.
        slo_s: time for an answer, from when a request first came.
        deadline_s: time that each attempt has at the service; None: what is left of `slo_s`.
        replicas: at the beginning.
        autoscaling: what is deployed; None: the number is fixed.
        start: what a new pod takes.
        shares: of each class; None: a tenth stat, a fifth urgent, the rest routine.
        balancer: how requests are shared out; see `replicas`.
        clients: how many ask.
    """

    hardware: Hardware
    slo_s: float
    deadline_s: float | None = None
    replicas: int
    autoscaling: Autoscaling | None = None
    start: Start = field(default_factory=Start)
    shares: Mapping[Priority, float] | None = None
    balancer: str = "round-robin"
    clients: int = 8

    @property
    def capacity(self) -> float:
        """Images a second of the replicas at the beginning."""
        return self.replicas * self.hardware.rate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run in figures. Shares are of the requests that first came in the load's judged time.

    Attributes:
        requests: how many were judged.
        in_time: answered within the SLO from when they first came, refusals in between included.
        stat_in_time: the same of stat requests.
        worst_minute: the least `in_time` of any minute.
        came_back: share of those in time that had been refused first.
        refused_until_s: from the beginning of the judged time until nobody is refused any more.
        p50_ms, p99_ms: of the answers, from when the request first came.
        most_replicas: wanted at any time.
        replica_hours: paid for, from when each was wanted.
        ideal_hours: that the work alone would have taken.
        changes, turns: how often the number changed, and how often its direction did.
    """

    requests: int
    in_time: float
    stat_in_time: float
    worst_minute: float
    came_back: float
    refused_until_s: float
    p50_ms: float
    p99_ms: float
    most_replicas: int
    last_replicas: int
    replica_hours: float
    ideal_hours: float
    changes: int
    turns: int

    @property
    def kept(self) -> bool:
        """Whether the SLO was."""
        return self.in_time >= ENOUGH

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "kept": self.kept}


def run(
    fleet: Fleet, load: Load, *, seed: int, cv: float = 1.0, until_s: float = 0.0
) -> tuple[Story, Outcome]:
    """Offer a load to a fleet; the same seed, the same story."""
    rng = np.random.default_rng(seed)
    deadline_s = fleet.deadline_s or fleet.slo_s
    crowd = Crowd(slo_s=dict.fromkeys(Priority, deadline_s), clients=fleet.clients)
    if fleet.shares is not None:
        crowd = Crowd(slo_s=crowd.slo_s, shares=fleet.shares, clients=fleet.clients)
    requests = crowd.arriving(load.times(rng, cv=cv), rng)
    scaler = None
    if fleet.autoscaling is not None:
        scaler = Autoscaler(fleet.autoscaling, start=fleet.start, current=fleet.replicas, rng=rng)
    hardware = fleet.hardware
    world = World(
        lambda: Ours(hardware.table, host_s=hardware.host_s, promising=True, size=QUEUE_SIZE),
        hardware,
        seed=seed,
        replicas=fleet.replicas,
        balancer=BALANCERS[fleet.balancer],
        autoscaler=scaler,
        callers=Callers(keeps_deadline=fleet.deadline_s is None),
        slo_s=deadline_s,
    )
    lasts_s = max(load.lasts_s, until_s)
    story = world.run(requests, until_s=lasts_s)
    return story, outcome(story, load, fleet, lasts_s=lasts_s)


def outcome(story: Story, load: Load, fleet: Fleet, *, lasts_s: float) -> Outcome:
    """Count what happened."""
    begin_s, end_s = load.judged
    judged = [one for one in story.endings if begin_s <= one.request.arrived < end_s]
    in_time = [one for one in judged if is_in_time(one, fleet.slo_s)]
    stat = [one for one in judged if one.request.priority is Priority.STAT]
    took_ms = [
        (one.at - one.request.arrived) * 1e3 for one in judged if one.fate is Fate.ANSWERED
    ] or [float("nan")]
    refused = [one.at for one in judged if one.fate is not Fate.ANSWERED or one.attempts > 1]
    p50, p99 = (float(value) for value in np.percentile(took_ms, (50, 99)))
    counts = [count for _, count in story.replicas]
    steps = np.diff(counts)
    return Outcome(
        requests=len(judged),
        in_time=_share(in_time, judged),
        stat_in_time=_share([one for one in stat if is_in_time(one, fleet.slo_s)], stat),
        worst_minute=_worst_minute(judged, begin_s, fleet.slo_s),
        came_back=_share([one for one in in_time if one.attempts > 1], in_time),
        refused_until_s=max(refused, default=begin_s) - begin_s,
        p50_ms=p50,
        p99_ms=p99,
        most_replicas=max(counts),
        last_replicas=counts[-1],
        replica_hours=_hours(story.replicas, lasts_s),
        ideal_hours=load.images / fleet.hardware.rate() / 3600,
        changes=len(steps),
        turns=int(np.sum(np.diff(np.sign(steps)) != 0)) if len(steps) > 1 else 0,
    )


def is_in_time(one: Ending, slo_s: float) -> bool:
    """Answered within the SLO from when it first came."""
    return one.fate is Fate.ANSWERED and one.at - one.request.arrived <= slo_s + 1e-9


def _worst_minute(judged: Sequence[Ending], begin_s: float, slo_s: float) -> float:
    minutes: dict[int, list[bool]] = {}
    for one in judged:
        minute = int((one.request.arrived - begin_s) // _MINUTE_S)
        minutes.setdefault(minute, []).append(is_in_time(one, slo_s))
    return min((float(np.mean(seen)) for seen in minutes.values()), default=1.0)


def _hours(counts: Sequence[tuple[float, int]], lasts_s: float) -> float:
    ends = [at for at, _ in counts[1:]] + [lasts_s]
    return sum((end - at) * count for (at, count), end in zip(counts, ends, strict=True)) / 3600


def _share(some: Sequence[object], of: Sequence[object]) -> float:
    return len(some) / len(of) if of else 1.0
