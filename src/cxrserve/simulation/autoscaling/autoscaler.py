"""The whole loop: scrapes, the kubelet's samples, and every 15 s the autoscaler's look."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cxrserve.simulation.autoscaling import desired
from cxrserve.simulation.autoscaling.behaviour import Behaviour
from cxrserve.simulation.autoscaling.desired import Pod, Tolerance, Usage
from cxrserve.simulation.autoscaling.manifests import Autoscaling, Metric
from cxrserve.simulation.autoscaling.prometheus import Readings, Scrapes

SYNC_S = 15.0
"""`--horizontal-pod-autoscaler-sync-period`: how often the autoscaler looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a new pod takes, in seconds, from the autoscaler's decision.

    Attributes:
        pending_s: until it runs on a node: scheduling, pulling the image, a new node.
        ready_s: until it is asked: start-up, probes, endpoints.
    """

    pending_s: float = 3.0
    ready_s: float = 15.0


class Replica(Protocol):
    """A replica, as far as monitoring sees it."""

    @property
    def name(self) -> int:
        """Unique, rising."""

    @property
    def created_at(self) -> float:
        """When it was asked for."""

    @property
    def ready_at(self) -> float:
        """From when on it answers."""

    def readings(self, now: float) -> Readings:
        """What it shows at `/metrics`."""


@dataclass(slots=True)
class _Watched:
    scrapes: Scrapes = field(default_factory=Scrapes)
    cpu: tuple[float, float] | None = None
    usage: Usage | None = None


class Autoscaler:
    """Follows an `Autoscaling`; driven by the world's clock: `next_at`, then `look`.

    Args:
        of: what is deployed.
        start: what a new pod takes.
        current: replicas at the beginning, all of them ready.
        rng: when each scrape and the first look happen.
    """

    def __init__(
        self, of: Autoscaling, *, start: Start, current: int, rng: np.random.Generator
    ) -> None:
        self.start = start
        self._of, self._rng = of, rng
        self._behaviour = Behaviour(of.behavior, current=current)
        self._tolerance = Tolerance(
            **{
                direction: rules.tolerance
                for direction, rules in (("down", of.behavior.down), ("up", of.behavior.up))
                if rules.tolerance is not None
            }
        )
        self._watched: dict[int, _Watched] = {}
        self._order = itertools.count()
        # (when, order, whose scrape or usage); None is the look of the autoscaler itself.
        self._due: list[tuple[float, int, tuple[str, int] | None]] = []
        self._plan(float(rng.uniform(0, SYNC_S)), None)

    @property
    def next_at(self) -> float:
        """When to call `look` next."""
        return self._due[0][0]

    def look(self, replicas: Sequence[Replica], now: float) -> int:
        """Do what is due, and return how many replicas there should be.

        Args:
            replicas: those that are not leaving.
        """
        there = {replica.name: replica for replica in replicas}
        for name in self._watched.keys() - there.keys():
            del self._watched[name]
        for name in there.keys() - self._watched.keys():
            self._watch(there[name], now)
        wanted = len(replicas)
        while self._due[0][0] <= now:
            _, _, what = heapq.heappop(self._due)
            if what is None:
                wanted = self._wanted(replicas, now)
                self._plan(now + SYNC_S, None)
            elif what[1] in self._watched:
                self._sample(what[0], there[what[1]], now)
        return wanted

    def _plan(self, at: float, what: tuple[str, int] | None) -> None:
        heapq.heappush(self._due, (at, next(self._order), what))

    def _watch(self, replica: Replica, now: float) -> None:
        self._watched[replica.name] = _Watched()
        # A pod shows nothing to scale by until it is ready; its CPU is seen as soon as it runs.
        seen = max(now, replica.ready_at) + self._rng.uniform(0, self._of.scrape_s)
        self._plan(seen, ("scrape", replica.name))
        if any(metric.kind == "Resource" for metric in self._of.metrics):
            seen = max(now, replica.ready_at) + self._rng.uniform(0, self._of.kubelet_s)
            self._plan(seen, ("usage", replica.name))

    def _sample(self, what: str, replica: Replica, now: float) -> None:
        watched, readings = self._watched[replica.name], replica.readings(now)
        if what == "scrape":
            watched.scrapes.add(readings, now)
            self._plan(now + self._of.scrape_s, (what, replica.name))
            return
        if watched.cpu is not None:
            before_at, before_s = watched.cpu
            window_s = now - before_at
            share = (readings.busy_s - before_s) / window_s / readings.processors
            watched.usage = Usage(min(share, 1.0), now, window_s)
        watched.cpu = (now, readings.busy_s)
        self._plan(now + self._of.kubelet_s, (what, replica.name))

    def _wanted(self, replicas: Sequence[Replica], now: float) -> int:
        current, of = len(replicas), self._of
        if current > of.most or current < of.least:
            allowed = min(max(current, of.least), of.most)
        else:
            found = [self._desired(metric, replicas, current, now) for metric in of.metrics]
            known = [one for one in found if one is not None]
            if not known or (len(known) < len(found) and max(known) < current):
                return current  # what is not known might need them
            allowed = self._behaviour.allowed(
                max(known), current=current, least=of.least, most=of.most, now=now
            )
        if allowed != current:
            self._behaviour.changed(before=current, after=allowed, now=now)
        return allowed

    def _desired(
        self, metric: Metric, replicas: Sequence[Replica], current: int, now: float
    ) -> int | None:
        tolerance = self._tolerance
        if metric.kind == "Resource":
            return desired.of_cpu(
                self._pods(replicas, now), self._usages(), target=metric.target, current=current,
                now=now, tolerance=tolerance,
            )  # fmt: skip
        values = self._values(metric, now)
        if metric.kind == "Pods":
            pods = self._pods(replicas, now)
            return desired.of_pods(
                pods, values, target=metric.target, current=current, tolerance=tolerance
            )
        if not values:
            return None
        return desired.of_external(
            sum(values.values()), target=metric.target, current=current, tolerance=tolerance
        )

    def _pods(self, replicas: Iterable[Replica], now: float) -> list[Pod]:
        return [
            Pod(
                name=replica.name,
                started_s=replica.created_at,
                is_pending=now < min(replica.created_at + self.start.pending_s, replica.ready_at),
                is_ready=replica.ready_at <= now,
                changed_s=replica.ready_at if replica.ready_at <= now else replica.created_at,
            )
            for replica in replicas
        ]

    def _usages(self) -> Mapping[int, Usage]:
        return {n: one.usage for n, one in self._watched.items() if one.usage is not None}

    def _values(self, metric: Metric, now: float) -> dict[int, float]:
        assert metric.query is not None
        found = {n: one.scrapes.value(metric.query, now) for n, one in self._watched.items()}
        return {name: value for name, value in found.items() if value is not None}
