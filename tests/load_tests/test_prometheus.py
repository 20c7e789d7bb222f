"""Time that goes faster for a Prometheus: durations shrink, nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from load_tests.peers.prometheus import faster, faster_query, rules

Rule = dict[str, Any]
Groups = list[dict[str, Any]]


def test_windows_and_offsets_shrink_and_thresholds_do_not() -> None:
    assert faster_query("rate(a_5m[5m] offset 1d) > 5 * 60", 60) == (
        "rate(a_5m[5000ms] offset 1440000ms) > 5 * 60"
    )
    assert faster_query("x offset 1w", 60) == "x offset 10080000ms"


def test_waiting_and_intervals_shrink_and_the_rules_stay_as_they_are() -> None:
    before = rules()
    after = faster(before, 60)
    assert before == rules()
    times = [(rule["for"], fast["for"]) for rule, fast in _pairs(before, after) if "for" in rule]
    assert ("5m", "5000ms") in times
    assert {group.get("interval") for group in after} == {"500ms", "1000ms", None}
    for rule, fast in _pairs(before, after):
        assert rule.keys() == fast.keys()
        assert rule.get("labels") == fast.get("labels")


def _pairs(before: Groups, after: Groups) -> Iterator[tuple[Rule, Rule]]:
    for group, other in zip(before, after, strict=True):
        yield from zip(group["rules"], other["rules"], strict=True)
