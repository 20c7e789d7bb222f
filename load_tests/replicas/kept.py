"""What a run leaves behind: figures as JSON, and a picture of each scenario."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from load_tests.replicas import timeline
from load_tests.replicas.conduct import Found, Wanted
from load_tests.replicas.haproxy import version
from load_tests.replicas.scenarios import SCENARIOS


def write(found: Found, wanted: Wanted, made: dict[str, Any], out: Path) -> Path:
    """Write `replicas.json` and a picture of each scenario; returns the former's path.

    Args:
        made: where, when and by which command.
        out: folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "made": made,
        "haproxy": version(),
        "replicas": wanted.count,
        "resident_mib_of_one": round(found.resident_mib),
        "capacity_films_per_s": None if found.capacity is None else round(found.capacity, 1),
        "rate_films_per_s": round(found.rate, 1),
        "callers": wanted.callers,
        "retry_s": wanted.retry_s,
        "min_ready_s": wanted.replacement.min_ready_s,
        "pre_stop_s": wanted.replacement.pre_stop_s,
        "scenarios": {
            name: {
                "about": SCENARIOS[name].about,
                "haproxy_sends_again": str(SCENARIOS[name].replays),
                "seconds": round(trial.seconds, 1),
                **_rounded(asdict(trial.figures)),
                "marks": [
                    f"{one.at - trial.marks[0].at:7.2f} s  {one.replica} {one.what}"
                    for one in trial.marks
                ],
            }
            for name, trial in found.trials.items()
        },
    }
    file = out / "replicas.json"
    file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    for name, trial in found.trials.items():
        timeline.draw(
            trial.events,
            trial.marks,
            trial.sights,
            title=f"{name}: {SCENARIOS[name].about}; {wanted.count} replicas, "
            f"{found.rate:.0f} films/s",
            versions=found.versions,
            out=out / f"{name}.png",
        )
    return file


def table(found: Found) -> list[str]:
    """The figures as a Markdown table."""
    lines = [
        "| scenario | sent | answered | sent again by the caller | sent again by HAProxy "
        "| failed | wrong | p50, ms | p99, ms | slowest, ms |",
        "|---|" + "---:|" * 9,
    ]
    for name, trial in found.trials.items():
        figures = trial.figures
        answered = figures.outcomes.get("answered", 0)
        again = ", ".join(f"{number} {why}" for why, number in figures.retried.items()) or "0"
        latencies = (figures.p50_ms, figures.p99_ms, figures.max_ms)
        cells = [
            name,
            str(figures.sent),
            str(answered),
            again,
            str(figures.replayed),
            str(figures.sent - answered - figures.wrong),
            str(figures.wrong),
            *("–" if value is None else f"{value:.0f}" for value in latencies),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _rounded(told: dict[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, 1) if isinstance(value, float) else value for name, value in told.items()
    }
