"""Results of the scenarios `load` and `burst` as a JSON file and as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from load_tests.bench.kept import head_row, machine_doubts, ms, row
from load_tests.bench.measures import Summary
from load_tests.bench.runner import Cell, Results

# Of fewer values the 99th percentile is one of the three largest: chance, more than the server.
_ENOUGH_FOR_P99 = 300


def as_dict(results: Results) -> dict[str, Any]:
    """What is kept of a run besides what it was made of."""
    return {
        "offline_rounds": results.offline,
        "offline_limit": results.offline_limit,
        "offline_gated_rounds": results.offline_gated,
        "offline_gated_limit": results.gated_limit,
        "capacities": results.capacities,
        "burst_deadline_ms": results.deadline_ms,
        "cells": [_cell_as_json(cell) for cell in results.cells.values()],
    }


def doubts(results: Results) -> list[str]:
    """Why the figures may not be the servers' own."""
    return machine_doubts(one.usage for cell in results.cells.values() for one in cell.rounds)


def tables(results: Results, *, gated: frozenset[str]) -> list[str]:
    """The tables, as lines.

    Args:
        results: the figures.
        gated: servers that run the quality gate.
    """
    return [
        *_closed_table(results, gated),
        *_open_tables(results),
        *_burst_table(results),
    ]


def _closed_table(results: Results, gated: frozenset[str]) -> list[str]:
    levels = _levels(results, "closed")
    if not levels:
        return []
    limits = {"offline limit": results.offline_limit}
    if results.gated_limit is not None:
        limits["offline limit with the gate"] = results.gated_limit
    heads = [f"{level} clients" for level in levels]
    lines = ["Answers a second, closed loop; p99 in ms.", ""]
    lines += head_row("server", *heads, *(f"of {name}" for name in limits))
    for name, limit in limits.items():
        if limit is not None:
            own = ["1.00" if other == name else "" for other in limits]
            lines.append(row(name, f"{limit:.1f}", *([""] * (len(levels) - 1)), *own))
    for server in _servers(results, "closed"):
        best = results.best_rate(server)
        shares = [
            # What a server does not do is no limit of it.
            f"{best / limit:.2f}"
            if limit and best and (name == "offline limit" or server in gated)
            else ""
            for name, limit in limits.items()
        ]
        cells = [_of(results, server, "closed", level, _rate_and_p99) for level in levels]
        lines.append(row(server, *cells, *shares))
    return [*lines, ""]


def _open_tables(results: Results) -> list[str]:
    levels = _levels(results, "open")
    if not levels:
        return []
    heads = [f"{level} %" for level in levels]
    lines: list[str] = []
    for title, show in (
        ("Goodput within the SLO a second (share of requests), open loop", _goodput),
        (
            "p99 of answers in ms, open loop (answers behind it, of a round; "
            f"?: fewer than {_ENOUGH_FOR_P99}, doubtful)",
            _p99_and_answers,
        ),
        ("Refused / failed, dropped or given up, open loop", _not_answered),
    ):
        lines += [f"{title}, by share of capacity.", "", *head_row("server", *heads)]
        for server in _servers(results, "open"):
            lines.append(
                row(server, *(_of(results, server, "open", level, show) for level in levels))
            )
        lines.append("")
    return lines


def _burst_table(results: Results) -> list[str]:
    cells = [cell for cell in results.cells.values() if cell.kind == "burst"]
    if not cells:
        return []
    lines = [f"Burst after quiet, {results.deadline_ms:.0f} ms for all.", ""]
    lines += head_row("server", "in time", "refused", "late or lost", "p99 ms", "capacity")
    for cell in cells:
        one = cell.median
        in_time = round(one.goodput_share * one.requests)
        lost = one.requests - in_time - one.refused
        capacity = f"{results.capacities[cell.server]:.1f}/s"
        shown = [f"{in_time} of {one.requests:.0f}", f"{one.refused:.0f}", f"{lost:.0f}"]
        lines.append(row(cell.server, *shown, ms(one.p99_ms), capacity))
    return [*lines, ""]


def _levels(results: Results, kind: str) -> list[int]:
    return sorted({cell.level for cell in results.cells.values() if cell.kind == kind})


def _servers(results: Results, kind: str) -> list[str]:
    """In the order of the first round."""
    names = (cell.server for cell in results.cells.values() if cell.kind == kind)
    return list(dict.fromkeys(names))


def _of(
    results: Results, server: str, kind: str, level: int, show: Callable[[Summary], str]
) -> str:
    cell = results.cells.get((server, kind, level))
    return "" if cell is None else show(cell.median)


def _p99_and_answers(one: Summary) -> str:
    if one.p99_ms is None:
        return "–"
    doubtful = "?" if one.answered < _ENOUGH_FOR_P99 else ""
    return f"{one.p99_ms:.0f}{doubtful} ({one.answered:.0f})"


def _rate_and_p99(one: Summary) -> str:
    return f"{one.answered_rate:.1f} ({ms(one.p99_ms)})"


def _goodput(one: Summary) -> str:
    return f"{one.goodput_rate:.1f} ({one.goodput_share:.0%})"


def _not_answered(one: Summary) -> str:
    return f"{one.refused:.0f} / {one.failed + one.dropped + one.given_up:.0f}"


def _cell_as_json(cell: Cell) -> dict[str, Any]:
    return {
        "server": cell.server,
        "kind": cell.kind,
        "level": cell.level,
        "median": cell.median.as_dict(),
        "rounds": [one.summary.as_dict() | one.usage.as_dict() for one in cell.rounds],
    }
