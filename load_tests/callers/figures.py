"""A run in figures, by kind of caller and priority, and over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from load_tests.bench.measures import percentile
from load_tests.callers.events import Event, Outcome, counted
from load_tests.callers.thresholds import figure


def by_group(events: Sequence[Event]) -> dict[str, dict[str, Any]]:
    """`all`, each caller, and each caller's priorities → figures."""
    groups: dict[str, list[Event]] = {"all": list(events)}
    for event in sorted(events, key=lambda one: (one.caller, one.priority)):
        for name in (event.caller, f"{event.caller} {event.priority}"):
            groups.setdefault(name, []).append(event)
    return {name: figures(group) for name, group in groups.items()}


def figures(events: Sequence[Event]) -> dict[str, Any]:
    """Of some films; ms, and shares of all films."""
    answered_ms = [one.latency_ms for one in events if one.outcome is Outcome.ANSWERED]
    turned_ms = [one.latency_ms for one in events if one.outcome is Outcome.REFUSED]
    lag_ms = [one.lag_ms for one in events]
    found: dict[str, Any] = {
        "films": len(events),
        "outcomes": {name: count for name, count in counted(events).items() if count},
        "retries": dict(Counter(reason for one in events for reason in one.retries)),
        "in_time": _rounded(figure("in_time", events), 4),
        "refused": _rounded(figure("refused", events), 4),
        "refusal_p99_ms": _rounded(percentile(turned_ms, 99), 1),
        "lag_p99_ms": _rounded(percentile(lag_ms, 99), 1),
        "max_ms": _rounded(max(answered_ms, default=None), 1),
    }
    for name in ("p50_ms", "p95_ms", "p99_ms"):
        found[name] = _rounded(figure(name, events), 1)
    return found


def table(groups: dict[str, dict[str, Any]]) -> list[str]:
    """The same as lines of text."""
    head = ("who", "films", "p50 ms", "p95 ms", "p99 ms", "in time", "turned away", "sent again")
    rows: list[tuple[str, ...]] = [head]
    for name, found in groups.items():
        numbers = [f"{found[key]:.0f}" if found[key] is not None else "-" for key in _COLUMNS]
        share = [
            f"{100 * found[key]:.2f} %" if found[key] is not None else "-"
            for key in ("in_time", "refused")
        ]
        again = str(sum(found["retries"].values()))
        rows.append((name, str(found["films"]), *numbers, *share, again))
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    return [
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width)
                  for place, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]  # fmt: skip


_COLUMNS = ("p50_ms", "p95_ms", "p99_ms")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
