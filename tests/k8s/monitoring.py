"""Rules and dashboards as they lie in `k8s/monitoring`, and what their queries ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from load_tests.peers import prometheus

from tests.k8s.manifests import K8S, Manifest

MONITORING = prometheus.MONITORING
DOCS = K8S.parent / "docs"

TARGET_LABELS = frozenset({"namespace", "pod", "job", "instance"})
"""What Prometheus itself writes on everything that it scrapes."""

# Not the service's: Prometheus writes them itself.
PROMETHEUS_OWN = {
    "up": frozenset[str](),
    "ALERTS": frozenset({"alertname", "alertstate", "severity", "pod", "model"}),
}


@cache
def groups() -> tuple[Manifest, ...]:
    """The groups of rules, those that record first: alerts ask for what they write."""
    return tuple(prometheus.rules())


def rules(kind: str) -> list[Manifest]:
    """Every rule of a kind, `alert` or `record`."""
    return [rule for group in groups() for rule in group["rules"] if kind in rule]


@cache
def dashboards() -> dict[str, Any]:
    """Each dashboard by the name of its file."""
    files = sorted((MONITORING / "dashboards").glob("*.json"))
    return {file.stem: json.loads(file.read_text()) for file in files}


def panels(dashboard: Any) -> list[Any]:
    """The panels that show something; rows only part them."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def filled(query: str, *, interval: str = "5m", namespace: str = "cxrserve") -> str:
    """A dashboard's query as Grafana sends it, with everything chosen."""
    for variable, value in (
        ("$__rate_interval", interval),
        ("$namespace", namespace),
        ("$pod", ".*"),
        ("$model", ".*"),
    ):
        query = query.replace(variable, value)
    assert "$" not in query, query
    return query


@dataclass(frozen=True)
class Query:
    """PromQL, and where it stands."""

    place: str
    text: str

    def __str__(self) -> str:
        return self.place


def dashboard_queries() -> list[Query]:
    return [
        Query(f"{name}: {panel['title']}", filled(target["expr"]))
        for name, dashboard in dashboards().items()
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def rule_queries() -> list[Query]:
    return [
        Query(rule.get("alert") or rule["record"], rule["expr"])
        for rule in (*rules("record"), *rules("alert"))
    ]


def runbook_queries() -> list[Query]:
    blocks = re.findall(r"```promql\n(.*?)```", (DOCS / "runbook.md").read_text(), re.DOTALL)
    return [Query(f"runbook: {block.strip()}", block) for block in blocks]


@dataclass(frozen=True)
class Asked:
    """What a query wants of one metric: its name, and the labels that it must have."""

    name: str
    labels: frozenset[str]


def asked_by(query: str) -> Iterator[Asked]:
    """Each metric that a query asks for, with the labels that it selects, sums or matches by.

    Raises:
        ValueError: the query is no PromQL.
        AssertionError: it wants a label of a sum that the sum does not keep.
    """
    yield from _asked(promql_parser.parse(query), frozenset())


def _asked(node: object, wanted: frozenset[str]) -> Iterator[Asked]:
    if isinstance(node, promql_parser.VectorSelector):
        matched = {matcher.name for matcher in node.matchers.matchers}
        assert node.name, "a metric is asked for by its name"
        yield Asked(node.name, wanted | matched)
    elif isinstance(node, promql_parser.MatrixSelector):
        yield from _asked(node.vector_selector, wanted)
    elif isinstance(node, promql_parser.AggregateExpr):
        kept = node.modifier.labels if node.modifier else []
        assert node.modifier is None or node.modifier.type == promql_parser.AggModifierType.By
        # What is asked of the sum must be among what it keeps.
        assert wanted <= set(kept), (wanted, kept)
        yield from _asked(node.expr, frozenset(kept))
    elif isinstance(node, promql_parser.BinaryExpr):
        matching = node.modifier.matching if node.modifier else None
        # The right side gives what it is matched on; without `on`, all that the left has.
        on = frozenset(matching.labels) if matching else wanted
        yield from _asked(node.lhs, wanted | on)
        yield from _asked(node.rhs, on)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from _asked(argument, wanted)
    elif isinstance(node, promql_parser.ParenExpr | promql_parser.UnaryExpr):
        yield from _asked(node.expr, wanted)
    else:
        assert isinstance(node, promql_parser.NumberLiteral | promql_parser.StringLiteral), node


@cache
def recorded() -> dict[str, frozenset[str]]:
    """The labels of each metric that our rules record, as the first part of its name has them."""
    return {rule["record"]: _level(rule["record"]) for rule in rules("record")}


def _level(name: str) -> frozenset[str]:
    return frozenset(name.split(":", maxsplit=1)[0].split("_"))


@cache
def contract() -> dict[str, frozenset[str]]:
    """The labels of each metric that docs/metrics.md promises."""
    promised: dict[str, frozenset[str]] = {}
    for line in (DOCS / "metrics.md").read_text().splitlines():
        if line.startswith("| `"):
            names, labels = line.split("|")[1:3]
            found = frozenset(label.strip() for label in labels.split(",") if label.strip())
            histogram = "histogram" in line
        else:
            names, _, rest = line.partition("(")
            found = frozenset(re.findall("`([a-z]+)`", rest.partition(")")[0]))
            histogram = False
        for name in re.findall(r"`(cxrserve_\w+)`", names):
            promised |= _series(name, found, histogram=histogram)
    return promised


def _series(name: str, labels: frozenset[str], *, histogram: bool) -> dict[str, frozenset[str]]:
    if not histogram:
        return {name: labels}
    return {f"{name}_sum": labels, f"{name}_count": labels, f"{name}_bucket": labels | {"le"}}


def labels_of(name: str) -> frozenset[str] | None:
    """The labels that a metric has, those of its target included; None if nobody promises it."""
    if name in recorded():
        return recorded()[name]
    if name in PROMETHEUS_OWN:
        return PROMETHEUS_OWN[name] | TARGET_LABELS
    # prometheus-client's own, which docs/metrics.md names by their beginning.
    if name.startswith(("process_", "python_")):
        return TARGET_LABELS | {"generation"}
    promised = contract().get(name)
    return None if promised is None else promised | TARGET_LABELS


def write_rules(folder: Path) -> Path:
    """The rules as Prometheus reads them: the `spec` of the manifests."""
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": list(groups())}, sort_keys=False))
    return file
