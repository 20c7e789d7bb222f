"""A scenario as a picture: rate, latency, what each replica was, and what was done to it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from load_tests.callers.events import Event, Outcome
from load_tests.replicas.releases import MODEL
from load_tests.replicas.sights import Mark, Sight

_BIN_S = 1.0
_COLOURS = 128
_ALMOST_S = 1.5
_BESIDE: dict[str, Any] = {"fontsize": 7, "loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
_STATES = {
    "serving": "#3a8f5c",
    "starting": "#8fbcd4",
    "draining": "#ead08a",
    "leaving": "#dda02e",
    "down": "#c4523e",
    "frozen": "#7d5ba6",
    "absent": "#e8e8e8",
}
_PROTOCOLS = {"http": "#2b5c8a", "grpc": "#b0761c", "oip": "#7a8f2b"}


def draw(
    events: Sequence[Event],
    marks: Sequence[Mark],
    sights: Sequence[Sight],
    *,
    title: str,
    versions: Mapping[str, str],
    out: Path,
) -> None:
    """Write the picture.

    Args:
        versions: digest → version; where there are several, answers are shown by it, stacked.
        out: PNG file.
    """
    start = min(one.at for one in events)
    end = max(one.at + one.latency_ms / 1e3 for one in events)
    figure = Figure(figsize=(12, 6.2), layout="constrained")
    rate, latency, bands = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [2, 3, 2]}
    )
    figure.suptitle(title, fontsize=10)
    _rate(rate, events, start, end, versions)
    _latency(latency, events, start)
    _bands(bands, marks, sights, start, end)
    for axes in (rate, latency):
        for mark in marks:
            axes.axvline(mark.at - start, color="black", linewidth=0.5, alpha=0.35)
    bands.set_xlim(0, end - start)
    bands.set_xlabel("seconds")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    # A few colours are a third of the bytes.
    Image.open(drawn).convert("RGB").quantize(_COLOURS).save(out, optimize=True)


def _rate(
    axes: Axes, events: Sequence[Event], start: float, end: float, versions: Mapping[str, str]
) -> None:
    edges = np.arange(0, end - start + _BIN_S, _BIN_S)
    due = [one.at - start for one in events]
    axes.stairs(np.histogram(due, edges)[0] / _BIN_S, edges, color="black", label="due")
    answered = [one for one in events if one.outcome is Outcome.ANSWERED]
    kinds = sorted({versions.get(one.digests.get(MODEL, ""), "") for one in answered})
    below = np.zeros(len(edges) - 1)
    for kind in kinds:
        ended = [
            one.at + one.latency_ms / 1e3 - start
            for one in answered
            if versions.get(one.digests.get(MODEL, ""), "") == kind
        ]
        label = f"answered by {kind}" if len(kinds) > 1 else "answered"
        above = below + np.histogram(ended, edges)[0] / _BIN_S
        axes.stairs(above, edges, baseline=below, fill=True, alpha=0.5, label=label)
        below = above
    axes.set_ylabel("films a second")
    axes.set_ylim(bottom=0)
    axes.legend(**_BESIDE)


def _latency(axes: Axes, events: Sequence[Event], start: float) -> None:
    for protocol, colour in _PROTOCOLS.items():
        smooth = [
            one
            for one in events
            if one.protocol == protocol and one.outcome is Outcome.ANSWERED and not one.retries
        ]
        _points(axes, smooth, start, protocol, color=colour, marker="o", s=7, alpha=0.6)
    again = [one for one in events if one.outcome is Outcome.ANSWERED and one.retries]
    failed = [one for one in events if one.outcome is not Outcome.ANSWERED]
    _points(
        axes,
        again,
        start,
        f"sent again, answered ({len(again)})",
        color="#e07b00",
        marker="D",
        s=26,
    )
    _points(axes, failed, start, f"failed ({len(failed)})", color="#c00000", marker="X", s=46)
    axes.set_yscale("log")
    axes.set_ylabel("ms to the answer")
    axes.grid(alpha=0.25)
    axes.legend(**_BESIDE)


def _points(axes: Axes, events: Sequence[Event], start: float, label: str, **style: object) -> None:
    axes.scatter(
        [one.at - start for one in events],
        [one.latency_ms for one in events],
        label=label,
        linewidths=0,
        **style,  # type: ignore[arg-type]
    )


def _bands(
    axes: Axes, marks: Sequence[Mark], sights: Sequence[Sight], start: float, end: float
) -> None:
    names = sorted({one.replica for one in sights})
    for place, name in enumerate(names):
        own = [one for one in sights if one.replica == name]
        begins = [max(one.at - start, 0.0) for one in own]
        ends = [*begins[1:], end - start]
        for one, begun, ended in zip(own, begins, ends, strict=True):
            axes.barh(place, ended - begun, left=begun, height=0.72, color=_STATES[one.state])
    for mark in marks:
        axes.plot(mark.at - start, names.index(mark.replica), marker="|", color="black", ms=14)
    for number, (at, name, what) in enumerate(_told(marks)):
        axes.annotate(
            what,
            (at - start, names.index(name)),
            xytext=(3, (3, -7)[number % 2]),
            textcoords="offset points",
            fontsize=6,
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    shown = [state for state in _STATES if any(one.state == state for one in sights)]
    axes.legend(
        handles=[Patch(color=_STATES[state], label=state) for state in shown],
        **_BESIDE,
    )


def _told(marks: Sequence[Mark]) -> list[tuple[float, str, str]]:
    """What was done to a replica at almost one time, in one line."""
    found: list[tuple[float, str, str]] = []
    for mark in sorted(marks, key=lambda one: (one.replica, one.at)):
        if found and found[-1][1] == mark.replica and mark.at - found[-1][0] < _ALMOST_S:
            found[-1] = (found[-1][0], mark.replica, f"{found[-1][2]}, {mark.what}")
        else:
            found.append((mark.at, mark.replica, mark.what))
    return found
