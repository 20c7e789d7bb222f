"""A run as one picture: how much was asked, how long answers took, what had none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from load_tests.bench.measures import percentile
from load_tests.callers.events import Event, Outcome
from load_tests.callers.kinds import KINDS

_BINS = 60
_LATENCY_BINS = 30
_COLOURS = dict(zip(KINDS, ("C0", "C1", "C2", "C3", "C4"), strict=True))
_BAD = {
    Outcome.REFUSED: "C1",
    Outcome.LATE: "C4",
    Outcome.UNREADY: "C5",
    Outcome.FAILED: "C3",
    Outcome.LOST: "black",
    Outcome.WRONG: "red",
}


def draw(
    events: Sequence[Event],
    *,
    title: str,
    begin: float,
    seconds: float,
    capacity: float | None,
    out: Path,
) -> None:
    """Draw a run.

    Args:
        events: all of it.
        begin: when it began, in s since 1970.
        seconds: its length.
        capacity: films a second that the service can do, drawn as a line if it is known.
        out: PNG file to write.
    """
    figure = Figure(figsize=(10, 9), layout="constrained")
    rate, latency, failures = figure.subplots(3, 1, sharex=True)
    figure.suptitle(title, fontsize=10)
    if events:
        _draw_rate(rate, events, begin, seconds)
    if capacity is not None:
        rate.axhline(capacity, color="black", linestyle=":", linewidth=1, label="capacity")
    _draw_latency(latency, events, begin, seconds)
    _draw_failures(failures, events, begin, seconds)
    for axes in (rate, latency, failures):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="upper right", ncols=2)
    failures.set_xlabel("s, when the film was due")
    figure.savefig(out, dpi=90)


def _draw_rate(axes: Axes, events: Sequence[Event], begin: float, seconds: float) -> None:
    width = seconds / _BINS
    edges = np.arange(_BINS + 1) * width
    callers = [name for name in KINDS if any(event.caller == name for event in events)]
    counts = [
        np.histogram([e.at - begin for e in events if e.caller == name], edges)[0] / width
        for name in callers
    ]
    axes.stackplot(
        edges[:-1] + width / 2,
        counts,
        labels=callers,
        colors=[_COLOURS[name] for name in callers],
        alpha=0.7,
        step="mid",
    )
    axes.set_ylabel("films a second")
    axes.set_ylim(bottom=0)


def _draw_latency(axes: Axes, events: Sequence[Event], begin: float, seconds: float) -> None:
    answered = [event for event in events if event.outcome is Outcome.ANSWERED]
    groups: list[tuple[str, str, Callable[[Event], bool]]] = [
        ("stat", "C3", lambda event: event.priority == "stat"),
        ("urgent", "C0", lambda event: event.priority == "urgent"),
        ("routine", "C2", lambda e: e.priority == "routine" and e.caller != "back-fill"),
        ("back-fill", "0.6", lambda event: event.caller == "back-fill"),
    ]
    for name, colour, belongs in groups:
        chosen = [event for event in answered if belongs(event)]
        if not chosen:
            continue
        for percent, style in ((50, ":"), (99, "-")):
            axes.plot(
                *_over_time(chosen, percent, begin, seconds),
                style,
                marker=".",
                markersize=3,
                color=colour,
                linewidth=1.4,
                label=f"{name}, p{percent}",
            )
    axes.set_yscale("log")
    axes.set_ylabel("ms until the answer")


def _over_time(
    events: Sequence[Event], percent: float, begin: float, seconds: float
) -> tuple[list[float], list[float]]:
    """Middles of the bins, and the percentile of each; where nothing was answered, a gap."""
    width = seconds / _LATENCY_BINS
    bins: list[list[float]] = [[] for _ in range(_LATENCY_BINS)]
    for event in events:
        place = int((event.at - begin) / width)
        if 0 <= place < _LATENCY_BINS:
            bins[place].append(event.latency_ms)
    found = [percentile(one, percent) for one in bins]
    middles = [(place + 0.5) * width for place in range(_LATENCY_BINS)]
    return middles, [float("nan") if value is None else value for value in found]


def _draw_failures(axes: Axes, events: Sequence[Event], begin: float, seconds: float) -> None:
    width = seconds / _BINS
    edges = np.arange(_BINS + 1) * width
    below = np.zeros(_BINS)
    drawn: list[tuple[str, str, list[float]]] = [
        (str(outcome), colour, [e.at - begin for e in events if e.outcome is outcome])
        for outcome, colour in _BAD.items()
    ]
    too_late = [e.at - begin for e in events if e.outcome is Outcome.ANSWERED and not e.in_time]
    drawn.append(("answered after its deadline", "0.7", too_late))
    for name, colour, when in drawn:
        if not when and name not in (Outcome.LOST, Outcome.WRONG):
            continue
        counts = np.histogram(when, edges)[0] / width
        axes.bar(
            edges[:-1],
            counts,
            width,
            bottom=below,
            align="edge",
            color=colour,
            label=f"{name}: {len(when)}",
        )
        below += counts
    axes.set_ylabel("films a second not answered in time")
    axes.set_ylim(bottom=0)
