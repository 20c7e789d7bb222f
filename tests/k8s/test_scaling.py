"""Autoscalers ask for what `/metrics` has, and both ask for the same."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from load_tests.peers import debian

from cxrserve.observability.metrics import Metrics
from cxrserve.observability.scaling_metrics import Scaling, scaling_families
from tests.k8s.manifests import K8S, Manifest, named, of_kind, overlay

_SCALED = ("cpu", "gpu-local", "gpu-triton")


def _served() -> set[str]:
    """Names of the metrics that a replica shows for scaling, as Prometheus reads them."""
    metrics = Metrics()
    scaling = Scaling(
        processors=2, busy_s=1.0, demanded_s=1.0, slo_s=5.0, waits_s={"triage@1.0.0": 0.1}
    )
    metrics.collect(lambda: scaling_families(scaling))
    text = metrics.exposition()[0].decode()
    return {
        re.split("[{ ]", line)[0]
        for line in text.splitlines()
        if line.startswith("cxrserve_") and not line.startswith("#")
    }


def _asked(query: str) -> set[str]:
    return set(re.findall(r"\bcxrserve_\w+", re.sub('"[^"]*"', "", query)))


def _adapter() -> list[Manifest]:
    text = (K8S / "prometheus-adapter" / "values.yaml").read_text()
    rules: list[Manifest] = yaml.safe_load(text)["rules"]["custom"]
    return rules


def _adapted(rule: Manifest, labels: str, group: str) -> str:
    """The query that the adapter would send, its template filled in."""
    series = rule["seriesQuery"].partition("{")[0]
    query: str = rule["metricsQuery"]
    for name, value in (("Series", series), ("LabelMatchers", labels), ("GroupBy", group)):
        query = query.replace(f"<<.{name}>>", value)
    assert "<<" not in query
    return query


def _keda() -> Manifest:
    spec: Manifest = named(overlay("keda"), "ScaledObject", "cxrserve")["spec"]
    return spec


@pytest.mark.parametrize("rule", _adapter(), ids=lambda rule: str(rule["name"]["as"]))
def test_the_adapter_asks_for_metrics_that_are_served(rule: Manifest) -> None:
    asked = _asked(rule["seriesQuery"]) | _asked(_adapted(rule, 'pod="a"', "pod"))
    assert asked
    assert asked <= _served()


def test_keda_asks_for_metrics_that_are_served() -> None:
    for trigger in _keda()["triggers"]:
        asked = _asked(trigger["metadata"]["query"])
        assert asked
        assert asked <= _served()


@pytest.mark.parametrize("name", _SCALED)
def test_the_autoscaler_asks_for_what_the_adapter_makes(name: str) -> None:
    spec = named(overlay(name), "HorizontalPodAutoscaler", "cxrserve")["spec"]
    asked = {metric["pods"]["metric"]["name"] for metric in spec["metrics"]}
    assert asked == {rule["name"]["as"] for rule in _adapter()}
    # CPU % says nothing of what waits.
    assert {metric["type"] for metric in spec["metrics"]} == {"Pods"}


@pytest.mark.parametrize("name", [*_SCALED, "keda"])
def test_one_autoscaler_owns_the_number_of_replicas(name: str) -> None:
    manifests = overlay(name)
    deployment = named(manifests, "Deployment", "cxrserve")
    assert "replicas" not in deployment["spec"]
    (scaler,) = of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject")
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"], target["name"]) == (
        deployment["apiVersion"],
        deployment["kind"],
        deployment["metadata"]["name"],
    )


def test_dev_has_one_replica_and_nobody_to_change_it() -> None:
    manifests = overlay("dev")
    assert named(manifests, "Deployment", "cxrserve")["spec"]["replicas"] == 1
    assert not of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject")


def test_keda_wants_what_the_autoscaler_wants() -> None:
    hpa = named(overlay("cpu"), "HorizontalPodAutoscaler", "cxrserve")["spec"]
    keda = _keda()
    targets = [metric["pods"]["target"]["averageValue"] for metric in hpa["metrics"]]
    thresholds = [float(one["metadata"]["threshold"]) for one in keda["triggers"]]
    assert [int(target.removesuffix("m")) / 1e3 for target in targets] == thresholds
    assert hpa["behavior"] == keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (
        keda["minReplicaCount"],
        keda["maxReplicaCount"],
    )
    assert keda["minReplicaCount"] <= keda["fallback"]["replicas"] <= keda["maxReplicaCount"]


def test_keda_counts_its_own_namespace() -> None:
    namespace = named(overlay("keda"), "ScaledObject", "cxrserve")["metadata"]["namespace"]
    for trigger in _keda()["triggers"]:
        query = trigger["metadata"]["query"]
        asked = re.findall(r"\bcxrserve_\w+\{namespace=\"([^\"]+)\"\}", query)
        assert asked == [namespace] * 2


def test_a_spike_is_met_at_once_and_left_slowly() -> None:
    behaviour = named(overlay("cpu"), "HorizontalPodAutoscaler", "cxrserve")["spec"]["behavior"]
    assert behaviour["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behaviour["scaleUp"]["selectPolicy"] == "Max"
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] >= 300
    assert behaviour["scaleDown"]["selectPolicy"] == "Min"


# Two pods of two threads: of one half its time is asked for and who comes waits 2 of 4 s, of the
# other three times what it has. A third, busy one of the same name as the first belongs to
# somebody else.
_SERIES: list[dict[str, Any]] = [
    {"series": f'{name}{{namespace="{space}",pod="{pod}"{model}}}', "values": values}
    for name, space, pod, model, values in (
        ("cxrserve_demanded_seconds_total", "cxrserve", "a", "", "0+10x30"),
        ("cxrserve_demanded_seconds_total", "cxrserve", "b", "", "0+60x30"),
        ("cxrserve_demanded_seconds_total", "other", "a", "", "0+80x30"),
        ("cxrserve_processors", "cxrserve", "a", "", "2x30"),
        ("cxrserve_processors", "cxrserve", "b", "", "2x30"),
        ("cxrserve_processors", "other", "a", "", "4x30"),
        ("cxrserve_slo_seconds", "cxrserve", "a", "", "4x30"),
        ("cxrserve_slo_seconds", "cxrserve", "b", "", "4x30"),
        ("cxrserve_slo_seconds", "other", "a", "", "8x30"),
        ("cxrserve_expected_wait_seconds", "cxrserve", "a", ',model="triage@1.0.0"', "2x30"),
        ("cxrserve_expected_wait_seconds", "cxrserve", "a", ',model="tb@1.0.0"', "0.5x30"),
        ("cxrserve_expected_wait_seconds", "cxrserve", "b", ',model="triage@1.0.0"', "1x30"),
        ("cxrserve_expected_wait_seconds", "other", "a", ',model="triage@1.0.0"', "8x30"),
    )
]


@pytest.mark.skipif(not debian.program("promtool"), reason=debian.not_here("prometheus"))
def test_queries_say_what_they_are_meant_to(tmp_path: Path) -> None:
    predicted, wait = (
        _adapted(rule, 'namespace="cxrserve",pod=~"a|b"', "pod") for rule in _adapter()
    )
    keda_predicted, keda_wait = (one["metadata"]["query"] for one in _keda()["triggers"])
    expected = [
        (predicted, {'{pod="a"}': 0.5, '{pod="b"}': 3.0}),
        (wait, {'{pod="a"}': 0.5, '{pod="b"}': 0.25}),
        (keda_predicted, {"{}": 3.5}),
        (keda_wait, {"{}": 0.75}),
    ]
    tests = {
        "interval": "10s",
        "input_series": _SERIES,
        "promql_expr_test": [
            {
                "expr": query,
                "eval_time": "4m",
                "exp_samples": [{"labels": k, "value": v} for k, v in values.items()],
            }
            for query, values in expected
        ],
    }
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"evaluation_interval": "10s", "tests": [tests]}))
    promtool = debian.program("promtool")
    assert promtool
    out = subprocess.run(
        [promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, out.stdout + out.stderr
