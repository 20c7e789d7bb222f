"""What is simulated is read from what is deployed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from cxrserve.simulation.autoscaling.manifests import Behavior, deployed, deployed_with_keda
from cxrserve.simulation.autoscaling.quantities import quantity, seconds
from cxrserve.simulation.autoscaling.queries import Query, query_of
from cxrserve.simulation.autoscaling.recommended import recommended
from tests.k8s.manifests import K8S


def test_planning_without_a_checkout_takes_what_is_deployed() -> None:
    assert recommended() == deployed(K8S)


def test_keda_follows_the_same() -> None:
    hpa, keda = deployed(K8S), deployed_with_keda(K8S)
    assert [(one.query, one.target) for one in keda.metrics] == [
        (one.query, one.target) for one in hpa.metrics
    ]
    assert (keda.behavior, keda.least, keda.most) == (hpa.behavior, hpa.least, hpa.most)
    assert {one.kind for one in keda.metrics} == {"External"}


def test_kubernetes_defaults_are_filled_in() -> None:
    filled = Behavior.model_validate({"scaleUp": {"selectPolicy": "Min"}}).filled()
    assert filled.up.select == "Min"
    assert [(one.type, one.value, one.period_s) for one in filled.up.policies or ()] == [
        ("Pods", 4, 15),
        ("Percent", 100, 15),
    ]
    assert (filled.up.stabilization_s, filled.down.stabilization_s) == (0, 300)


@pytest.mark.parametrize(
    ("written", "value"), [("600m", 0.6), ("2", 2), (0.5, 0.5), ("4Gi", 4 * 2**30), ("1k", 1000)]
)
def test_quantities_are_read(written: str, value: float) -> None:
    assert quantity(written) == pytest.approx(value)


@pytest.mark.parametrize("wrong", ["", "m", "1 m", "1x"])
def test_what_is_no_quantity_is_named(wrong: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity(wrong)


def test_durations_are_read() -> None:
    assert (seconds("7s"), seconds("1m30s"), seconds("500ms")) == (7, 90, 0.5)
    with pytest.raises(ValueError, match="no duration"):
        seconds("7")


def test_queries_are_understood_or_refused() -> None:
    plain = 'rate(cxrserve_busy_seconds_total{pod="a"}[1m]) / cxrserve_processors{pod="a"}'
    assert query_of("x", plain) == Query("rate", "busy_s", 60.0, "processors")
    assert query_of("x", "sum(max_over_time(cxrserve_queue_requests[30s]))") == Query(
        "max_over_time", "waiting", 30.0
    )
    for other in (
        "cxrserve_processors",
        "rate(cxrserve_http_request_seconds_count[1m])",
        "rate(cxrserve_busy_seconds_total[1m]) - rate(cxrserve_demanded_seconds_total[1m])",
        "rate(cxrserve_busy_seconds_total[1m]) * cxrserve_processors",
    ):
        with pytest.raises(ValueError, match="not simulated"):
            query_of("x", other)


def test_a_metric_that_no_rule_makes_is_named(tmp_path: Path) -> None:
    k8s = tmp_path / "k8s"
    shutil.copytree(K8S, k8s)
    file = k8s / "components" / "autoscaling" / "autoscaler.yaml"
    manifest = yaml.safe_load(file.read_text())
    manifest["spec"]["metrics"][0]["pods"]["metric"]["name"] = "cxrserve_mood"
    file.write_text(yaml.safe_dump(manifest))
    with pytest.raises(ValueError, match="no rule of the adapter makes cxrserve_mood"):
        deployed(k8s)
    manifest["spec"]["behavior"]["scaleUp"]["policies"][0]["value"] = 0
    file.write_text(yaml.safe_dump(manifest))
    with pytest.raises(ValueError, match=r"scaleUp.policies.0.value"):
        deployed(k8s)
    file.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        deployed(k8s)
