"""A plan is the least that does, by simulation: one replica fewer does not."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from cxrserve.capacity.asking import Asked
from cxrserve.capacity.demand import Impossible, fewest, trial
from cxrserve.capacity.hardware_file import HardwareFile
from cxrserve.capacity.plan import Plan, cost_of, plan
from cxrserve.capacity.report import show

_REQUESTS = 1000


def box(**changes: Any) -> HardwareFile:
    """Two cores, 0.4 s of network and 0.1 s of all else: 4 images a second."""
    return HardwareFile.model_validate(
        {
            "name": "a box",
            "assumed": "for a test",
            "replica": {"cores": 2, "memory_gib": 4},
            "models": {
                "net": {"table": {"sizes": [1, 2], "seconds": [0.4, 0.8]}, "service_ms": 20}
            },
            "images": {"jpeg": {"bytes": 100_000, "decode_ms": 80}},
            **changes,
        }
    )


@pytest.mark.parametrize(("rate", "slo_s"), [(0.8, 4.0), (12.5, 4.0), (12.5, 1.6)])
def test_the_number_found_keeps_the_slo_and_one_fewer_does_not(rate: float, slo_s: float) -> None:
    hardware = box().hardware("net", "jpeg")
    asked = Asked(rate=rate, slo_s=slo_s)
    found = fewest(hardware, asked, rate, seed=1, requests=_REQUESTS)
    assert found.kept.outcome.in_time >= 0.99
    assert found.kept.load <= 1.01
    if found.kept.replicas > 1:
        assert found.failed is not None
        assert found.failed.replicas == found.kept.replicas - 1
        assert found.failed.outcome.in_time < 0.99


def test_less_time_takes_more_replicas_and_so_does_more_load() -> None:
    hardware = box().hardware("net", "jpeg")

    def replicas(rate: float, slo_s: float) -> int:
        asked = Asked(rate=rate, slo_s=slo_s)
        return fewest(hardware, asked, rate, seed=1, requests=_REQUESTS).kept.replicas

    assert replicas(10.0, 1.6) > replicas(10.0, 8.0)
    assert replicas(3.0, 8.0) < replicas(10.0, 8.0)


def test_eight_stand_for_more() -> None:
    hardware, asked = box().hardware("net", "jpeg"), Asked(rate=1.0, slo_s=2.0)
    eight = trial(hardware, asked, 25.0, 8, seed=1, requests=2000)
    forty = trial(hardware, asked, 125.0, 40, seed=1, requests=2000)
    assert forty.load == pytest.approx(eight.load)
    assert forty.outcome.in_time == pytest.approx(eight.outcome.in_time, abs=1e-9)


@pytest.mark.parametrize(("slo_s", "why"), [(0.48, "takes 500.0 ms"), (0.504, "even at 2% load")])
def test_what_no_number_can_do_is_said(slo_s: float, why: str) -> None:
    hardware = box(noise=0.2).hardware("net", "jpeg")
    with pytest.raises(Impossible, match=why):
        fewest(hardware, Asked(rate=2, slo_s=slo_s), 2.0, seed=1, requests=_REQUESTS)


@pytest.fixture(scope="module")
def planned() -> Plan:
    priced = box(price={"currency": "EUR", "core_hour": 0.04, "gib_hour": 0.005})
    asked = Asked(rate=10.0, slo_s=4.0, peak_factor=3.0, zones=3)
    return plan(asked, priced, model="net", image="jpeg", requests=_REQUESTS)


def test_the_autoscaler_keeps_the_peak_and_a_higher_target_does_not(planned: Plan) -> None:
    scaler = planned.scaler
    assert scaler is not None
    assert scaler.outcome.kept
    assert scaler.too_high is not None
    assert not scaler.too_high[1].kept
    assert scaler.least >= planned.mean.kept.replicas
    assert scaler.most >= planned.peak.kept.replicas


def test_a_zone_less_leaves_enough_for_the_average(planned: Plan) -> None:
    assert planned.replicas - -(-planned.replicas // 3) >= planned.mean.kept.replicas


def test_the_cost_is_that_of_the_replicas_and_is_used_up(planned: Plan) -> None:
    cost = planned.cost
    one = 2 * 0.04 + 4 * 0.005
    assert cost.an_hour == pytest.approx(planned.replicas * one)
    assert cost.a_million == pytest.approx(cost.an_hour / (10 * 3600) * 1e6)
    assert sum(cost.shares.values()) == pytest.approx(1.0)
    # 10/s of 0.4 s on cores of 0.04.
    assert cost.shares["network"] * cost.an_hour == pytest.approx(10 * 0.4 * 0.04)
    assert cost.driver == max(cost.shares, key=lambda part: cost.shares[part])


def test_it_is_told_in_words(planned: Plan) -> None:
    out = Console(record=True, width=300, file=StringIO())
    show(planned, out)
    said = out.export_text()
    assert planned.scaler is not None
    for text in (
        "ASSUMED, never measured by us: for a test",
        "one fewer",
        f"predicted utilisation {planned.scaler.target:g}, minReplicas {planned.scaler.least}",
        "at once keeps the SLO",
        "EUR a million images",
        f"{planned.replicas} replicas, {2 * planned.replicas} cores",
        "8 Mbit/s on average, 24 at the peak",
    ):
        assert text in said


def test_what_costs_most_is_named() -> None:
    def driver(**changes: Any) -> str:
        file = box(**changes)
        hardware = file.hardware("net", "jpeg")
        asked = Asked(rate=25.0, slo_s=4.0)
        return cost_of(asked, file, hardware, "net", "jpeg", replicas=7).driver

    assert driver() == "network"
    assert driver(images={"jpeg": {"bytes": 1, "decode_ms": 480}}) == "decode"
    dear = {"currency": "EUR", "core_hour": 0.01, "gib_hour": 1.0}
    assert driver(price=dear) == "memory"


def test_of_a_gpu_its_idle_time_is_head_room() -> None:
    file = box(
        replica={"cores": 4, "gpus": 1, "memory_gib": 16},
        price={"currency": "EUR", "core_hour": 0.0, "gpu_hour": 2.0},
    )
    hardware = file.hardware("net", "jpeg")
    asked = Asked(rate=hardware.rate(), slo_s=1.0)
    cost = cost_of(asked, file, hardware, "net", "jpeg", replicas=4)
    assert cost.an_hour == pytest.approx(8.0)
    assert cost.shares["network"] == pytest.approx(0.25)
    assert cost.shares["head-room"] == pytest.approx(0.75)
