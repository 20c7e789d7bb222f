"""The loop: what is seen, when, and what is done about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cxrserve.simulation.autoscaling.autoscaler import SYNC_S, Autoscaler, Start
from cxrserve.simulation.autoscaling.manifests import Autoscaling, Metric
from cxrserve.simulation.autoscaling.prometheus import Readings
from cxrserve.simulation.autoscaling.recommended import recommended
from cxrserve.simulation.autoscaling.signals import SIGNALS, cpu, predicted, wait_share


@dataclass
class Replica:
    """One that is asked for `load` times what it can do, and does what it can."""

    name: int
    load: float
    created_at: float = 0.0
    ready_at: float = 0.0

    def readings(self, now: float) -> Readings:
        served_s = max(0.0, now - self.ready_at)
        return Readings(
            processors=2.0,
            busy_s=2.0 * served_s * min(self.load, 1.0),
            demanded_s=2.0 * served_s * self.load,
            expected_wait_s=5.0 if self.load > 1 else 0.0,
            slo_s=5.0,
            waiting=300.0 if self.load > 1 else 0.0,
        )


def followed(*metrics: Metric, load: float, seconds: float = 90.0) -> list[tuple[float, int]]:
    """How the number changes; new replicas share the load."""
    scaling = recommended(least=3, most=40).following(*metrics)
    scaler = Autoscaler(scaling, start=Start(), current=3, rng=np.random.default_rng(1))
    replicas = [Replica(n, load) for n in range(3)]
    changes = []
    while scaler.next_at < seconds:
        now = scaler.next_at
        wanted = scaler.look(replicas, now)
        if wanted != len(replicas):
            changes.append((now, wanted))
        for number in range(len(replicas), wanted):
            replicas.append(Replica(number, 0.0, created_at=now, ready_at=now + 15.0))
        del replicas[wanted:]
    return changes


def test_the_predicted_utilisation_asks_for_all_that_is_needed() -> None:
    # Three at three times what they can do, target 0.6: fifteen, when the rate's window is full.
    assert max(count for _, count in followed(predicted(0.6), load=3.0)) == 15


@pytest.mark.parametrize("name", ["utilisation", "cpu"])
def test_what_ends_at_one_asks_for_no_more_than_one_over_its_target(name: str) -> None:
    assert max(count for _, count in followed(SIGNALS[name](0.6), load=3.0)) == 5


def test_the_wait_is_seen_at_the_first_look_after_a_scrape() -> None:
    (first, *_) = followed(wait_share(0.2), load=3.0)
    assert first[0] <= SYNC_S + 7.0 + 1.0
    assert first[1] == 15


def test_of_several_metrics_the_one_that_wants_most_is_followed() -> None:
    alone = followed(predicted(0.6), load=0.9)
    both = followed(predicted(0.6), cpu(0.1), load=0.9)
    assert max(count for _, count in both) > max(count for _, count in alone)


def test_a_metric_that_is_not_there_keeps_replicas_that_it_might_need() -> None:
    scaling = replace(recommended(least=1), scrape_s=10_000.0)
    scaler = Autoscaler(
        scaling.following(predicted(0.6), cpu(0.6)),
        start=Start(), current=3, rng=np.random.default_rng(1),
    )  # fmt: skip
    replicas = [Replica(n, 0.0) for n in range(3)]
    while scaler.next_at < 1200:
        # The kubelet says that nobody works, Prometheus says nothing.
        assert scaler.look(replicas, scaler.next_at) == 3


def test_the_number_is_kept_between_least_and_most() -> None:
    scaling = Autoscaling(least=4, most=6, metrics=(predicted(0.6),))
    for begins, ends in ((2, 4), (9, 6)):
        scaler = Autoscaler(scaling, start=Start(), current=begins, rng=np.random.default_rng(1))
        replicas = [Replica(n, 0.5) for n in range(begins)]
        wanted = begins
        while wanted == begins:
            wanted = scaler.look(replicas, scaler.next_at)
        assert wanted == ends
