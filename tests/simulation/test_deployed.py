"""What docs/scaling.md promises of the autoscaler in `k8s/` holds, and fails when it is changed.

Replicas of one core, a quarter as fast as the measured one, have an eighth of the requests; the
loop's times are the same.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cxrserve.engines.latency import LatencyTable
from cxrserve.simulation.autoscaled import Fleet, Outcome, run
from cxrserve.simulation.autoscaling.manifests import Autoscaling, deployed
from cxrserve.simulation.autoscaling.signals import cpu
from cxrserve.simulation.device import Hardware, hardware
from cxrserve.simulation.loads import noise, spike
from tests.k8s.manifests import K8S

_SLOWER = 4
_FACTOR = 5.0


@cache
def _slow_core() -> Hardware:
    measured = hardware("densenet121-cpu", slots=1)
    table = measured.table
    return replace(
        measured,
        table=LatencyTable({size: _SLOWER * table.seconds(size) for size in table.sizes}),
        host_s=_SLOWER * measured.host_s,
    )


def _spiked(of: Autoscaling, *, busy_replicas: float, slo_s: float, attempt_s: float) -> Outcome:
    """A load of so many replicas' whole work, for which the fleet has settled, becomes five times
    as much."""
    core = _slow_core()
    target = of.metrics[0].target
    settled = min(max(of.least, math.ceil(busy_replicas / target - 1e-9)), of.most)
    fleet = Fleet(
        hardware=core,
        slo_s=slo_s,
        deadline_s=None if attempt_s == slo_s else attempt_s,
        replicas=settled,
        autoscaling=of,
    )
    load = spike(busy_replicas * core.rate(), _FACTOR, before_s=45.0, lasts_s=120.0, after_s=0.0)
    return run(fleet, load, seed=1)[1]


def _at_target(of: Autoscaling) -> Outcome:
    """Three replicas at 0.6; callers that name no deadline, and come back for a minute."""
    return _spiked(of, busy_replicas=3 * 0.6, slo_s=60.0, attempt_s=5.0)


def _head_room(of: Autoscaling) -> Outcome:
    """A fifth of what three replicas can do; callers that are answered in 5 s or not at all."""
    return _spiked(of, busy_replicas=3 * 0.2, slo_s=5.0, attempt_s=5.0)


Change = Callable[[dict[str, Any]], None]


def _targets(*values: str) -> Change:
    def change(spec: dict[str, Any]) -> None:
        for metric, value in zip(spec["metrics"], values, strict=True):
            metric["pods"]["target"]["averageValue"] = value

    return change


def _up(**rules: Any) -> Change:
    def change(spec: dict[str, Any]) -> None:
        spec["behavior"]["scaleUp"].update(rules)

    return change


def _most(replicas: int) -> Change:
    def change(spec: dict[str, Any]) -> None:
        spec["maxReplicas"] = replicas

    return change


def _least(replicas: int) -> Change:
    def change(spec: dict[str, Any]) -> None:
        spec["minReplicas"] = replicas

    return change


def _changed(folder: Path, change: Change) -> Autoscaling:
    k8s = folder / "k8s"
    shutil.copytree(K8S, k8s)
    file = k8s / "components" / "autoscaling" / "autoscaler.yaml"
    manifest = yaml.safe_load(file.read_text())
    change(manifest["spec"])
    file.write_text(yaml.safe_dump(manifest))
    return deployed(k8s)


def test_a_spike_is_answered_to_those_who_come_back_for_a_minute() -> None:
    outcome = _at_target(deployed(K8S))
    assert outcome.kept
    assert outcome.came_back > 0.05
    assert outcome.stat_in_time > 0.99


def test_with_head_room_a_spike_is_answered_in_five_seconds() -> None:
    outcome = _head_room(deployed(K8S))
    assert outcome.kept
    assert outcome.worst_minute > 0.95


def test_cpu_percent_loses_them() -> None:
    of = deployed(K8S)
    outcome = _at_target(of.following(cpu(0.6)))
    assert outcome.in_time < 0.95
    assert outcome.refused_until_s > 90


@pytest.mark.parametrize(
    "change",
    [
        _most(8),
        _up(stabilizationWindowSeconds=60),
        _up(policies=[{"type": "Pods", "value": 4, "periodSeconds": 60}]),
        _targets("1500m", "800m"),
    ],
    ids=["fewer-at-most", "slower-to-decide", "slower-to-grow", "higher-targets"],
)
def test_a_weaker_autoscaler_no_longer_keeps_what_was_promised(
    tmp_path: Path, change: Change
) -> None:
    assert not _at_target(_changed(tmp_path, change)).kept


def test_fewer_replicas_at_least_take_the_head_room(tmp_path: Path) -> None:
    assert not _head_room(_changed(tmp_path, _least(1))).kept


def test_noise_is_not_followed_up_and_down() -> None:
    core, of = _slow_core(), deployed(K8S)
    fleet = Fleet(hardware=core, slo_s=5.0, replicas=4, autoscaling=of)
    load = noise(0.55 * fleet.capacity, rng=np.random.default_rng(1), lasts_s=600.0, sigma=0.2)
    outcome = run(fleet, load, seed=1, cv=2.0)[1]
    assert outcome.kept
    assert outcome.turns <= 1
    assert outcome.changes <= 3


def test_what_was_added_for_a_spike_goes_within_a_quarter_of_an_hour() -> None:
    core, of = _slow_core(), deployed(K8S)
    fleet = Fleet(hardware=core, slo_s=5.0, replicas=3, autoscaling=of)
    load = spike(0.6 * fleet.capacity, _FACTOR, before_s=15.0, lasts_s=45.0, after_s=0.0)
    story, outcome = run(fleet, load, seed=1, until_s=60.0 + 300.0 + 600.0)
    assert outcome.most_replicas > 10
    assert outcome.last_replicas == of.least
    assert outcome.turns == 1
    # Not before five minutes have passed, and never more than two a minute or a quarter.
    first_down = next(at for at, n in story.replicas if at > 60 and n < outcome.most_replicas)
    assert first_down > 60.0 + 270.0
