"""What came of the checks, for people (a table) and for machines (JSON)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrserve.conformance.specification import Section
from cxrserve.conformance.suite import Outcome
from cxrserve.conformance.verdicts import Verdict

_STYLES = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "bold red",
    Verdict.DIFFERS: "yellow",
    Verdict.NOT_OFFERED: "dim",
    Verdict.NOT_APPLICABLE: "dim",
}
_SPOKEN_OF = (Verdict.FAILED, Verdict.DIFFERS)


def show(outcomes: Sequence[Outcome], console: Console, *, every_check: bool) -> None:
    """Print a table by section, and what each check that did not simply pass has to say.

    Args:
        outcomes: of all checks.
        console: where to.
        every_check: also name those that passed, and say why others were not asked.
    """
    console.print(_table(outcomes))
    for outcome in outcomes:
        if every_check or outcome.verdict in _SPOKEN_OF:
            console.print(_said(outcome), soft_wrap=True)
    console.print(summary(outcomes), soft_wrap=True)


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line: how many checks ended how."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    parts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    return f"{len(outcomes)} checks: {parts}"


def as_json(outcomes: Sequence[Outcome], *, target: str, model: str) -> str:
    """The outcomes as a JSON document."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    return json.dumps(
        {
            "target": target,
            "model": model,
            "counts": {verdict: counts[verdict] for verdict in Verdict},
            "outcomes": [asdict(outcome) for outcome in outcomes],
        },
        indent=2,
        ensure_ascii=False,
    )


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table("section", "protocol")
    for verdict in Verdict:
        table.add_column(verdict, justify="right")
    counts = Counter((o.section, o.protocol, o.verdict) for o in outcomes)
    for section in Section:
        for protocol in dict.fromkeys(o.protocol for o in outcomes):
            row = [counts[section, protocol, verdict] for verdict in Verdict]
            if any(row):
                table.add_row(section, protocol, *map(_cell, Verdict, row))
    totals = Counter(outcome.verdict for outcome in outcomes)
    table.add_section()
    table.add_row("all", "", *(_cell(verdict, totals[verdict]) for verdict in Verdict))
    return table


def _cell(verdict: Verdict, count: int) -> str:
    return f"[{_STYLES[verdict]}]{count}[/]" if count else ""


def _said(outcome: Outcome) -> str:
    style = _STYLES[outcome.verdict]
    lines = [
        f"[{style}]{outcome.verdict}[/] {outcome.protocol} {outcome.section}: "
        f"{escape(outcome.check)} ({escape(outcome.source)})"
    ]
    for name in ("sent", "came", "expected"):
        text = getattr(outcome, name)
        if text:
            lines.append(f"    {name:8} {escape(text)}")
    return "\n".join(lines)
