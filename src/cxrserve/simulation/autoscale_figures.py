"""Autoscalers drawn: replicas and load over time, and who was answered in time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from cxrserve.simulation.autoscaled import Fleet, is_in_time
from cxrserve.simulation.loads import STEP_S, Load
from cxrserve.simulation.world import Ending, Story

_BIN_S = 5.0


class Drawn(Protocol):
    """One autoscaler's run."""

    @property
    def followed(self) -> str:
        """What it looked at."""

    @property
    def base(self) -> float:
        """Load at the beginning, as a share."""

    @property
    def story(self) -> Story:
        """What happened."""

    @property
    def load(self) -> Load:
        """What was offered."""


def draw(found: Sequence[Drawn], fleet: Fleet, file: Path) -> None:
    """A column for each load: replicas above, shares in time below; needs matplotlib.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl  # noqa: PLC0415 - only a plot needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    bases = sorted({one.base for one in found})
    drawing, axes = plt.subplots(
        2, len(bases), figsize=(5.2 * len(bases), 5), layout="constrained", sharex="col",
        squeeze=False,
    )  # fmt: skip
    for column, base in enumerate(bases):
        above, below = axes[0][column], axes[1][column]
        shown = [one for one in found if one.base == base]
        load, began_s = shown[0].load, shown[0].load.judged[0]
        at_s = np.arange(len(load.rates)) * STEP_S - began_s
        above.fill_between(
            at_s, load.rates / fleet.hardware.rate(), color="0.85", step="post", label="load"
        )
        # The first is drawn over the others.
        for one in reversed(shown):
            times, counts = _steps(one.story.replicas, load.lasts_s)
            above.step(times - began_s, counts, where="post", label=one.followed)
            shares = _in_time(one.story.endings, fleet.slo_s, load.lasts_s)
            below.plot(np.arange(len(shares)) * _BIN_S - began_s, shares, label=one.followed)
        above.set(title=f"load before: {base:g} of capacity", ylabel="replicas wanted")
        below.set(
            xlabel="s since the load rose", ylabel=f"answered within {fleet.slo_s:g} s",
            ylim=(-0.02, 1.02),
        )  # fmt: skip
        above.legend(fontsize="small")
    drawing.savefig(file, dpi=80)
    plt.close(drawing)


def _steps(counts: Sequence[tuple[float, int]], lasts_s: float) -> tuple[np.ndarray, np.ndarray]:
    times = [at for at, _ in counts if at <= lasts_s] + [lasts_s]
    known = [count for at, count in counts if at <= lasts_s]
    return np.array(times), np.array([*known, known[-1]])


def _in_time(endings: Sequence[Ending], slo_s: float, lasts_s: float) -> list[float]:
    """Share in time of those who first came in each `_BIN_S`."""
    bins: list[list[bool]] = [[] for _ in range(int(lasts_s / _BIN_S) + 1)]
    for one in endings:
        bins[int(one.request.arrived / _BIN_S)].append(is_in_time(one, slo_s))
    return [float(np.mean(seen)) if seen else float("nan") for seen in bins]
