"""Alerts and dashboards ask for what is there, and each alert says what to do."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxrserve.api.problems import status_of
from cxrserve.errors import CxrError, NotReadableAsChest, Overloaded, UnreadableImage
from cxrserve.observability import metrics
from tests.k8s.manifests import (
    K8S,
    Manifest,
    built,
    environment,
    frontend,
    named,
    of_kind,
    overlay,
)
from tests.k8s.monitoring import (
    DOCS,
    MONITORING,
    Query,
    asked_by,
    dashboard_queries,
    dashboards,
    filled,
    labels_of,
    panels,
    recorded,
    rule_queries,
    rules,
    runbook_queries,
)

_MONITORED = ("cpu", "keda", "gpu-local", "gpu-triton")
_RUNBOOK = (DOCS / "runbook.md").read_text()
_KUBERNETES = (DOCS / "kubernetes.md").read_text()
_ENTRIES = re.findall(r"^### (Cxrserve\w+)\n(.*?)(?=^##|\Z)", _RUNBOOK, re.DOTALL | re.MULTILINE)
_PARTS = ("Means.", "Users see.", "Look.", "Do.", "Why this threshold.")
# Whether or not, and nothing to count: their value says no more than that they fire.
_YES_OR_NO = {"CxrserveReplicaDown", "CxrserveReplicaNotReady", "CxrserveNotScraped"}
_SEVERITIES = {"critical", "warning", "info"}

_QUERIES = [*rule_queries(), *dashboard_queries(), *runbook_queries()]


@pytest.mark.parametrize("query", _QUERIES, ids=str)
def test_queries_ask_for_metrics_and_labels_that_are_promised(query: Query) -> None:
    asked = list(asked_by(query.text))
    assert asked
    for one in asked:
        promised = labels_of(one.name)
        assert promised is not None, f"{one.name} is not in docs/metrics.md"
        assert one.labels <= promised, (one.name, one.labels - promised)


def test_what_is_recorded_is_asked_for_and_keeps_the_labels_of_its_name() -> None:
    asked = {one.name for query in _QUERIES for one in asked_by(query.text)}
    assert set(recorded()) <= asked
    for rule in rules("record"):
        level = recorded()[rule["record"]]
        kept = re.search(r"by \(([^)]*)\)", rule["expr"])
        below = [recorded()[one.name] for one in asked_by(rule["expr"]) if one.name in recorded()]
        labels = set(kept.group(1).split(", ")) if kept else set.intersection(*map(set, below))
        assert labels == level, rule["record"]


@pytest.mark.parametrize("alert", rules("alert"), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_bad_what_and_where_to_read_on(alert: Manifest) -> None:
    told = alert["annotations"]
    assert alert["labels"]["severity"] in _SEVERITIES
    assert set(told) == {"summary", "description", "runbook_url"}
    # Whoever groups alerts shows one summary for all.
    assert "{{" not in told["summary"]
    assert ("$value" in told["description"]) is (alert["alert"] not in _YES_OR_NO)
    assert told["runbook_url"].endswith(f"/runbook.md#{alert['alert'].lower()}")


def test_every_alert_has_its_entry_in_the_runbook_and_every_entry_its_alert() -> None:
    entries = [name for name, _ in _ENTRIES]
    assert Counter(entries) == Counter({alert["alert"] for alert in rules("alert")})
    for name, text in _ENTRIES:
        found = re.findall(r"^\*\*([^*]+)\*\*", text, re.MULTILINE)
        assert tuple(found) == _PARTS, name


def test_the_runbook_leads_to_panels_and_sections_that_are_there() -> None:
    titles = {
        f"{dashboard['title'].removeprefix('cxrserve / ')} › {panel['title']}"
        for dashboard in dashboards().values()
        for panel in panels(dashboard)
    }
    named_panels = set(re.findall(r"\*([^*\n]+ › [^*\n]+)\*", _RUNBOOK)) - {"Status › Targets"}
    assert len(named_panels) > 30
    assert named_panels <= titles
    headings = re.findall(r"^#+ (.+)$", _RUNBOOK, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", _RUNBOOK)) <= anchors


def _every_error(kind: type[CxrError] = CxrError) -> Iterator[CxrError]:
    """One of each kind that serving raises."""
    if kind.__module__ == CxrError.__module__:
        facts: dict[type[CxrError], dict[str, Any]] = {
            Overloaded: {"retry_after_s": 1.0},
            UnreadableImage: {"reason": "corrupt"},
            NotReadableAsChest: {"reasons": ("blank",)},
        }
        yield kind("", **facts.get(kind, {}))
    for special in kind.__subclasses__():
        yield from _every_error(special)


def test_what_counts_against_us_is_what_http_says_is_our_fault() -> None:
    statuses = {error.code: status_of(error) for error in _every_error()}
    ours = {code for code, status in statuses.items() if status == 429 or status >= 500} - {
        "not_offered"
    }
    counted, at_fault = (
        set(re.findall(r'outcome=~"([^"]+)"', rule["expr"])[0].split("|"))
        for rule in rules("record")[:2]
    )
    assert at_fault == ours
    assert counted == {"answered", *ours}
    table = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", _RUNBOOK, re.MULTILINE))))
    assert ours <= table


@pytest.mark.parametrize("name", _MONITORED)
def test_limits_in_the_rules_are_those_of_the_manifests(name: str) -> None:
    manifests = overlay(name)
    deadline_s = float(environment(manifests, frontend(manifests))["CXRSERVE_DEFAULT_DEADLINE_MS"])
    deadline_s /= 1e3
    (changed,) = [one for one in rules("alert") if one["alert"] == "CxrserveDeadlineChanged"]
    assert float(changed["expr"].rpartition("!=")[2]) == deadline_s
    (slow,) = {le for rule in rules("record") for le in re.findall(r'le="([^"]+)"', rule["expr"])}
    assert slow == str(0.4 * deadline_s)
    # Prometheus compares bounds as text, so they must be written as they are exposed.
    exposed = metrics.Metrics()
    exposed.served("GET", "/", 200, 0.1)
    assert f'le="{slow}"' in exposed.exposition()[0].decode()
    jobs = {
        job
        for query in (*rule_queries(), *dashboard_queries())
        for job in re.findall(r'job="([^"]+)"', query.text)
    }
    (monitor,) = [
        one for one in of_kind(manifests, "ServiceMonitor") if one["metadata"]["name"] == "cxrserve"
    ]
    assert "jobLabel" not in monitor["spec"]  # so it is the Service's name
    assert jobs == {named(manifests, "Service", "cxrserve")["metadata"]["name"]}


def test_what_is_said_of_the_autoscaler_is_what_it_does() -> None:
    spec = named(overlay("cpu"), "HorizontalPodAutoscaler", "cxrserve")["spec"]
    targets = {
        int(metric["pods"]["target"]["averageValue"].removesuffix("m")) / 10
        for metric in spec["metrics"]
    }
    told = [_RUNBOOK, *(one["annotations"]["description"] for one in rules("alert"))]
    told += [panel["description"] for one in dashboards().values() for panel in panels(one)]
    said = {float(found) for text in told for found in re.findall(r"aims at (\d+)%", text)}
    assert said == targets, "alerts, runbook or dashboards name other targets"


def test_overlays_with_prometheus_have_rules_and_dashboards() -> None:
    for name in _MONITORED:
        manifests = overlay(name)
        specs = [one["spec"] for one in of_kind(manifests, "PrometheusRule")]
        written = {
            rule.get("alert") for spec in specs for g in spec["groups"] for rule in g["rules"]
        }
        assert {alert["alert"] for alert in rules("alert")} <= written
        maps = _dashboard_maps(manifests)
        assert len(maps) == len(dashboards()) == len(list((MONITORING / "dashboards").iterdir()))
    assert not of_kind(overlay("dev"), "PrometheusRule")
    assert not _dashboard_maps(overlay("dev"))


def _dashboard_maps(manifests: tuple[Manifest, ...]) -> list[Manifest]:
    return [
        one
        for one in of_kind(manifests, "ConfigMap")
        if one["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]


def test_an_overlay_sets_the_address_of_its_runbook(tmp_path: Path) -> None:
    """As docs/kubernetes.md says."""
    told = re.findall(r"```yaml\n(configMapGenerator:.*?)```", _KUBERNETES, re.DOTALL)
    folder = tmp_path.resolve()
    base = os.path.relpath(K8S / "overlays" / "cpu", folder)
    (folder / "kustomization.yaml").write_text(f"resources: [{base}]\n{told[0]}")
    manifests = built(folder)
    assert not [one for one in manifests if one["metadata"]["name"].startswith("addresses")]
    groups = named(manifests, "PrometheusRule", "cxrserve-alerts")["spec"]["groups"]
    addresses = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"]]
    wanted = [one["annotations"]["runbook_url"].partition("#")[2] for one in rules("alert")]
    assert addresses == [f"https://wiki.example.net/cxrserve/runbook.md#{one}" for one in wanted]


def test_grafana_gets_each_dashboard_under_a_name_of_its_own() -> None:
    maps = _dashboard_maps(overlay("cpu"))
    files = [file for one in maps for file in one["data"].items()]
    assert len({name for name, _ in files}) == len(files) == len(dashboards())
    for name, text in files:
        # The sidecar lays the files of all namespaces into one folder.
        assert json.loads(text)["uid"] == name.removesuffix(".json")
    for one in maps:
        # `kubectl apply` copies it into an annotation.
        assert len(json.dumps(one)) < 256 * 1024


@pytest.mark.parametrize("name", dashboards())
def test_a_dashboard_is_whole(name: str) -> None:
    dashboard = dashboards()[name]
    assert dashboard["uid"] == f"cxrserve-{name}"
    assert dashboard["title"].startswith("cxrserve / ")
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert "current" not in variables["datasource"], "whose Prometheus it is, nobody knows here"
    for variable in variables.values():
        for one in asked_by(filled(re.sub(r"label_values\((.+), \w+\)", r"\1", _query(variable)))):
            assert labels_of(one.name) is not None
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(set(titles)) == len(titles)
    for panel in panels(dashboard):
        _is_whole(panel)
    _do_not_overlap(panels(dashboard))


def _query(variable: Any) -> str:
    return "up" if variable["type"] == "datasource" else str(variable["query"]["query"])


def _is_whole(panel: Any) -> None:
    title = panel["title"]
    assert panel["description"].endswith("."), title
    assert panel["fieldConfig"]["defaults"]["unit"], title
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references) > 0, title
    for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert source == {"type": "prometheus", "uid": "${datasource}"}, title
    for target in panel["targets"]:
        # Whose namespace it is, is chosen.
        for found in re.findall(r'namespace=~?"([^"]*)"', target["expr"]):
            assert found in {"$namespace", "$namespace|"}, title
        assert "namespace" in target["expr"], title


def _do_not_overlap(shown: list[Any]) -> None:
    places = [panel["gridPos"] for panel in shown]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
