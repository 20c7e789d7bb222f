"""What a run came to: in figures, as a table, as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from cxrserve.batching.line import Priority
from cxrserve.simulation.world import Fate, Story


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A run in figures; shares are of all requests offered.

    Attributes:
        goodput: answers in time a second of arrivals.
        refused: share that was told so when it came.
        shed: share that waited in vain.
        late: share that was answered after its deadline.
        p50_ms, p95_ms, p99_ms: of all answers, from arrival.
        utilisation: share of the time that the device was busy.
        in_time: share of each class that was answered in time.
        of_bound: answers in time, over what nobody could exceed.
    """

    dispatcher: str
    offered: int
    served: int
    goodput: float
    refused: float
    shed: float
    late: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    utilisation: float
    mean_batch: float
    in_time: dict[str, float]
    of_bound: float
    most_replicas: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def figures(dispatcher: str, story: Story, bound: int) -> Figures:
    """Count what happened; `bound` is the most that could have been answered in time."""
    endings = story.endings
    offered = len(endings)
    served = sum(one.in_time for one in endings)
    answered = [one for one in endings if one.fate is Fate.ANSWERED]
    took_ms = [(one.at - one.request.arrived) * 1e3 for one in answered] or [float("nan")]
    p50, p95, p99 = (float(value) for value in np.percentile(took_ms, (50, 95, 99)))
    lasted_s = max(e.request.arrived for e in endings) - min(e.request.arrived for e in endings)
    shares = {}
    for priority in Priority:
        of_class = [one.in_time for one in endings if one.request.priority is priority]
        if of_class:
            shares[priority.name.lower()] = float(np.mean(of_class))
    return Figures(
        dispatcher=dispatcher,
        offered=offered,
        served=served,
        goodput=served / lasted_s if lasted_s else float(served),
        refused=sum(one.fate is Fate.REFUSED for one in endings) / offered,
        shed=sum(one.fate is Fate.SHED for one in endings) / offered,
        late=sum(not one.in_time for one in answered) / offered,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        utilisation=story.busy_s / story.ready_s if story.ready_s else 0.0,
        mean_batch=float(np.mean(story.batches)) if story.batches else 0.0,
        in_time=shares,
        of_bound=served / bound if bound else 1.0,
        most_replicas=max(count for _, count in story.replicas),
    )


def table(rows: Sequence[Figures], title: str) -> Table:
    """For the terminal."""
    shown = Table(
        "dispatcher", "goodput /s", "in time", "stat", "refused", "shed", "late",
        "p50 ms", "p95 ms", "p99 ms", "busy", "batch", "of bound",
        title=title,
    )  # fmt: skip
    for row in rows:
        shown.add_row(
            row.dispatcher, f"{row.goodput:.1f}", f"{row.served / row.offered:.1%}",
            f"{row.in_time['stat']:.1%}" if "stat" in row.in_time else "–",
            f"{row.refused:.1%}", f"{row.shed:.1%}", f"{row.late:.1%}",
            f"{row.p50_ms:.0f}", f"{row.p95_ms:.0f}", f"{row.p99_ms:.0f}",
            f"{row.utilisation:.0%}", f"{row.mean_batch:.1f}", f"{row.of_bound:.1%}",
        )  # fmt: skip
    return shown


def plot(stories: Sequence[tuple[str, Story]], file: Path) -> None:
    """Latency of the answers, and when how many were answered in time; needs matplotlib.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl  # noqa: PLC0415 - only a plot needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    drawing, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, story in stories:
        answered = [one for one in story.endings if one.fate is Fate.ANSWERED]
        took_ms = np.sort([(one.at - one.request.arrived) * 1e3 for one in answered])
        # Those without an answer never arrive, so the curve stays below 1.
        left.plot(took_ms, np.arange(1, len(took_ms) + 1) / len(story.endings), label=name)
        in_time = np.sort([one.at for one in answered if one.in_time])
        right.plot(in_time, np.arange(1, len(in_time) + 1), label=name)
    left.set(xlabel="latency, ms", ylabel="share of all requests answered", xscale="log")
    right.set(xlabel="time, s", ylabel="answers in time")
    left.legend()
    drawing.savefig(file, dpi=150)
    plt.close(drawing)
