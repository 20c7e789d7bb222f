"""Results as a JSON file and as Markdown tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from load_tests.bench.measures import Summary
from load_tests.bench.runner import Cell, Plan, Results
from load_tests.bench.subject import IMAGE_SIDE, Subject

# Cores that something else may take before the figures stop being the servers'.
_QUIET_ENOUGH = 0.05
_GENERATOR_BUSY = 0.9


def as_json(
    results: Results,
    *,
    made: dict[str, object],
    subject: Subject,
    plan: Plan,
    servers: dict[str, dict[str, str]],
) -> dict[str, Any]:
    """What is kept of a run.

    Args:
        results: the figures.
        made: where, when and by which command.
        subject: what was served.
        plan: how it was measured.
        servers: name → version and note.
    """
    return {
        "made": made,
        "subject": {
            "model": subject.model,
            "version": subject.manifest.version,
            "graph": subject.graph_name,
            "precision": subject.precision,
            "sha256": subject.sha256,
            "images": f"{len(subject.images)} JPEG phantoms, {IMAGE_SIDE} x {IMAGE_SIDE}",
            "image_bytes": [len(image) for image in subject.images],
        },
        "plan": asdict(plan),
        "servers": servers,
        "largest_differences": results.differences,
        "failures": results.failures,
        "offline_rounds": results.offline,
        "offline_limit": results.offline_limit,
        "capacities": results.capacities,
        "burst_deadline_ms": results.deadline_ms,
        "doubts": doubts(results),
        "cells": [_cell_as_json(cell) for cell in results.cells.values()],
    }


def write(result: dict[str, Any], results: Results, out: Path) -> Path:
    """Write the JSON file, and the tables beside it as `.md`; returns the latter's path."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    page = out.with_suffix(".md")
    page.write_text(as_markdown(result, results), "utf-8")
    return page


def doubts(results: Results) -> list[str]:
    """Why the figures may not be the servers' own."""
    found = [f"{name}: {why.splitlines()[0]}" for name, why in results.failures.items()]
    measured = [one for cell in results.cells.values() for one in cell.rounds]
    others = max((one.usage.others for one in measured), default=0.0)
    if others > _QUIET_ENOUGH:
        found.append(f"the machine was not quiet: up to {others:.2f} cores went elsewhere")
    generator = max((one.usage.generator for one in measured), default=0.0)
    if generator > _GENERATOR_BUSY:
        found.append(f"the load generator used up to {generator:.2f} cores; it may be what limits")
    return found


def as_markdown(result: dict[str, Any], results: Results) -> str:
    """The tables, under a line that says what they are of."""
    made, subject, plan = result["made"], result["subject"], result["plan"]
    lines = [
        f"{subject['model']} {subject['version']}, {subject['precision']}, {subject['images']}; "
        f"median of {plan['rounds']} rounds of {plan['seconds']:g} s, SLO {plan['slo_ms']:g} ms. "
        f"{made['processor']}, {made['cores']} cores, {made['date'][:10]}.",
        "",
        f"`{made['command']}`",
        "",
        *(f"**Doubtful:** {doubt}.\n" for doubt in result["doubts"]),
        *_closed_table(results),
        *_open_tables(results),
        *_burst_table(results),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _closed_table(results: Results) -> list[str]:
    levels = _levels(results, "closed")
    if not levels:
        return []
    limit = results.offline_limit
    heads = [f"{level} clients" for level in levels]
    lines = ["Answers a second, closed loop; p99 in ms.", "", *_head(*heads, "of offline limit")]
    if limit is not None:
        lines.append(_row("offline limit", f"{limit:.1f}", *([""] * (len(levels) - 1)), "1.00"))
    for server in _servers(results, "closed"):
        best = results.best_rate(server)
        share = f"{best / limit:.2f}" if limit and best else ""
        cells = [_of(results, server, "closed", level, _rate_and_p99) for level in levels]
        lines.append(_row(server, *cells, share))
    return [*lines, ""]


def _open_tables(results: Results) -> list[str]:
    levels = _levels(results, "open")
    if not levels:
        return []
    heads = [f"{level} %" for level in levels]
    lines: list[str] = []
    for title, show in (
        ("Goodput within the SLO a second (share of requests), open loop", _goodput),
        ("p99 of answers in ms, open loop", lambda one: _ms(one.p99_ms)),
        ("Refused / failed, dropped or given up, open loop", _not_answered),
    ):
        lines += [f"{title}, by share of capacity.", "", *_head(*heads)]
        for server in _servers(results, "open"):
            lines.append(
                _row(server, *(_of(results, server, "open", level, show) for level in levels))
            )
        lines.append("")
    return lines


def _burst_table(results: Results) -> list[str]:
    cells = [cell for cell in results.cells.values() if cell.kind == "burst"]
    if not cells:
        return []
    lines = [f"Burst after quiet, {results.deadline_ms:.0f} ms for all.", ""]
    lines += _head("in time", "refused", "late or lost", "p99 ms", "capacity")
    for cell in cells:
        one = cell.median
        in_time = round(one.goodput_share * one.requests)
        lost = one.requests - in_time - one.refused
        capacity = f"{results.capacities[cell.server]:.1f}/s"
        shown = [f"{in_time} of {one.requests:.0f}", f"{one.refused:.0f}", f"{lost:.0f}"]
        lines.append(_row(cell.server, *shown, _ms(one.p99_ms), capacity))
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


def _rate_and_p99(one: Summary) -> str:
    return f"{one.answered_rate:.1f} ({_ms(one.p99_ms)})"


def _goodput(one: Summary) -> str:
    return f"{one.goodput_rate:.1f} ({one.goodput_share:.0%})"


def _not_answered(one: Summary) -> str:
    return f"{one.refused:.0f} / {one.failed + one.dropped + one.given_up:.0f}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _head(*columns: str) -> list[str]:
    return [_row("server", *columns), "|---|" + "---:|" * len(columns)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell_as_json(cell: Cell) -> dict[str, Any]:
    return {
        "server": cell.server,
        "kind": cell.kind,
        "level": cell.level,
        "median": cell.median.as_dict(),
        "rounds": [one.summary.as_dict() | one.usage.as_dict() for one in cell.rounds],
    }
