"""What is kept of any run: what it was made of, its figures, its doubts; as JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from load_tests.bench.machine import Usage, version_in
from load_tests.bench.server import Server
from load_tests.bench.stand import Stand
from load_tests.bench.subject import IMAGE_SIDE, Subject

# Cores that something else may take before the figures stop being the servers'.
_QUIET_ENOUGH = 0.05
_GENERATOR_BUSY = 0.9


def made_of(
    made: Mapping[str, object],
    stand: Stand,
    servers: Mapping[str, Server],
    plan: Mapping[str, object],
) -> dict[str, Any]:
    """Where, when and by which command; what was served, by whom; how it was measured."""
    return {
        "made": made,
        "subject": _subject(stand.subject),
        "plan": plan,
        "servers": {
            name: {"version": version_in(one.python, one.distribution), "note": one.note}
            | {
                what: known[name]
                for what, known in (("prepared", stand.prepared), ("engine", stand.engines))
                if name in known
            }
            for name, one in servers.items()
        },
        "largest_differences": stand.differences,
        "failures": stand.failures,
    }


def machine_doubts(usages: Iterable[Usage]) -> list[str]:
    """Why the figures may be the machine's or the load generator's, not the servers'."""
    measured, found = list(usages), []
    others = max((usage.others for usage in measured), default=0.0)
    if others > _QUIET_ENOUGH:
        found.append(f"the machine was not quiet: up to {others:.2f} cores went elsewhere")
    generator = max((usage.generator for usage in measured), default=0.0)
    if generator > _GENERATOR_BUSY:
        found.append(f"the load generator used up to {generator:.2f} cores; it may be what limits")
    return found


def write(document: dict[str, Any], lines: list[str], out: Path, *, measured: str) -> Path:
    """Write the JSON file, and the tables beside it as `.md`; returns the latter's path.

    Args:
        document: from `made_of`, with figures and `doubts`.
        lines: the tables.
        out: the JSON file.
        measured: how, for the line above the tables.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    made, subject = document["made"], document["subject"]
    head = [
        f"{subject['model']} {subject['version']}, {subject['precision']}, {subject['images']}; "
        f"{measured}. {made['processor']}, {made['cores']} cores, {made['date'][:10]}.",
        "",
        f"`{made['command']}`",
        "",
        *(f"**Doubtful:** {doubt}.\n" for doubt in document["doubts"]),
    ]
    for name, server in document["servers"].items():
        if "prepared" in server:
            head += [f"`{name}`: {server['prepared']}; it ran {server.get('engine', '?')}.", ""]
    page = out.with_suffix(".md")
    page.write_text("\n".join([*head, *lines]).rstrip() + "\n", "utf-8")
    return page


def head_row(*columns: str) -> list[str]:
    """The first two lines of a table; all but its first column hold figures."""
    return [row(*columns), "|---|" + "---:|" * (len(columns) - 1)]


def row(*cells: str) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"


def ms(value: float | None) -> str:
    """Milliseconds, or a dash."""
    return "–" if value is None else f"{value:.0f}"


def percent(value: float | None) -> str:
    """A share with a decimal, or a dash."""
    return "–" if value is None else f"{100 * value:.1f} %"


def _subject(subject: Subject) -> dict[str, object]:
    return {
        "model": subject.model,
        "version": subject.manifest.version,
        "graph": subject.graph_name,
        "precision": subject.precision,
        "sha256": subject.sha256,
        "images": f"{len(subject.images)} JPEG phantoms, {IMAGE_SIDE} x {IMAGE_SIDE}",
        "image_bytes": [len(image) for image in subject.images],
    }
