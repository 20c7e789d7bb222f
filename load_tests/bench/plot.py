"""The figures of a load run as one picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from load_tests.bench.runner import Cell, Results


def draw(results: Results, *, title: str, slo_ms: float, out: Path) -> None:
    """Throughput by clients, goodput and p99 by offered load.

    Args:
        results: of the scenario `load`.
        title: what was measured, and on what.
        slo_ms: drawn as a line.
        out: PNG file to write.
    """
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    throughput, goodput, latency = figure.subplots(1, 3)
    figure.suptitle(title, fontsize=10)
    for server in dict.fromkeys(cell.server for cell in results.cells.values()):
        width = 2.4 if server == "ours" else 1.2
        closed = _cells(results, server, "closed")
        opened = _cells(results, server, "open")
        throughput.plot(
            [cell.level for cell in closed],
            [cell.median.answered_rate for cell in closed],
            marker="o",
            linewidth=width,
            label=server,
        )
        rates = [cell.median.offered_rate for cell in opened]
        goodput.plot(
            rates, [cell.median.goodput_rate for cell in opened], marker="o", linewidth=width
        )
        # Nothing answered has no latency; the line then has a gap.
        p99 = [
            float("nan") if cell.median.p99_ms is None else cell.median.p99_ms for cell in opened
        ]
        latency.plot(rates, p99, marker="o", linewidth=width)
    if results.offline_limit is not None:
        for axes in (throughput, goodput):
            axes.axhline(results.offline_limit, color="black", linestyle=":", linewidth=1)
        throughput.plot([], [], color="black", linestyle=":", label="offline limit")
    latency.axhline(slo_ms, color="black", linestyle="--", linewidth=1)
    _label(throughput, "closed loop", "clients", "answers a second")
    _label(goodput, "open loop, Poisson", "requests a second", "answers within the SLO a second")
    _label(latency, "open loop, Poisson; dashed: SLO", "requests a second", "p99, ms")
    throughput.set_xscale("log", base=2)
    levels = sorted({cell.level for cell in results.cells.values() if cell.kind == "closed"})
    throughput.set_xticks(levels, [str(level) for level in levels])
    throughput.set_ylim(bottom=0)
    goodput.set_ylim(bottom=0)
    latency.set_yscale("log")
    throughput.legend(fontsize=8)
    figure.savefig(out, dpi=120)


def _cells(results: Results, server: str, kind: str) -> list[Cell]:
    found = [c for c in results.cells.values() if c.server == server and c.kind == kind]
    return sorted(found, key=lambda cell: cell.level)


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
