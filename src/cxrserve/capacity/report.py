"""A plan as an operator reads it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from cxrserve.capacity.asking import Asked
from cxrserve.capacity.demand import Trial
from cxrserve.capacity.plan import Cost, Plan, Scaler, trials

_MIN_SHARE = 0.005


def show(found: Plan, out: Console) -> None:
    """Print a plan."""
    asked = found.asked
    cores, gpus = found.replica["cores"], found.replica["gpus"]
    what = f"{cores} cores" + (f", {gpus} GPU" if gpus else "")
    parts = ", ".join(f"{name} {ms:.1f}" for name, ms in found.parts_ms.items())
    out.print(
        f"{found.model} on {found.hardware}: {what} a replica, {found.origin}", soft_wrap=True
    )
    out.print(
        f"an image ({found.image}) takes {sum(found.parts_ms.values()):.1f} ms ({parts}); "
        f"a replica at most {found.rate_of_one:.1f}/s",
        soft_wrap=True,
    )
    out.print(
        f"asked: {asked.rate:.4g}/s on average, {asked.peak_factor:g} times that at the peak, 99 % "
        f"within {asked.slo_s * 1e3:g} ms; uploads {found.mbit_s:.4g} Mbit/s on average, "
        f"{found.mbit_s * asked.peak_factor:.4g} at the peak",
        soft_wrap=True,
    )
    out.print(_trials(found))
    if found.scaler is not None:
        out.print(_scaler(found.scaler, asked), soft_wrap=True)
    out.print(
        f"to run on average: {found.replicas} replicas, {found.replicas * cores} cores"
        + (f", {found.replicas * gpus} GPUs" if gpus else ""),
        soft_wrap=True,
    )
    out.print(_cost(found.cost), soft_wrap=True)


def _trials(found: Plan) -> Table:
    shown = Table(
        "simulated", "replicas", "load", "in time", "p50 ms", "p99 ms", "SLO",
        title="fixed numbers under a steady load, without head-room",
    )  # fmt: skip
    for name, trial in trials(found):
        shown.add_row(name, *_row(trial))
    return shown


def _row(trial: Trial) -> tuple[str, ...]:
    outcome = trial.outcome
    return (
        str(trial.replicas), f"{trial.load:.2f}", f"{outcome.in_time:.2%}",
        f"{outcome.p50_ms:.0f}", f"{outcome.p99_ms:.0f}", "kept" if outcome.kept else "missed",
    )  # fmt: skip


def _scaler(scaler: Scaler, asked: Asked) -> str:
    comes = f"within {asked.rise_s:g} s" if asked.rise_s else "at once"
    kept = "keeps" if scaler.outcome.kept else "does not keep"
    text = (
        f"autoscaler: predicted utilisation {scaler.target:g}, minReplicas {scaler.least}, "
        f"maxReplicas {scaler.most}. A peak of {asked.peak_factor:g} times that comes {comes} "
        f"{kept} the SLO: {scaler.outcome.in_time:.2%} in time, p99 {scaler.outcome.p99_ms:.0f} ms"
    )
    if scaler.too_high is not None:
        target, outcome = scaler.too_high
        text += f" (target {target:g}: {outcome.in_time:.2%})"
    return text


def _cost(cost: Cost) -> str:
    parts = sorted(cost.shares.items(), key=lambda part: -part[1])
    shares = ", ".join(f"{name} {share:.0%}" for name, share in parts if share > _MIN_SHARE)
    if cost.currency is None:
        return f"what they are for: {shares}. The hardware file names no price"
    return (
        f"cost: {cost.an_hour:.2f} {cost.currency} an hour, {cost.a_million:.2f} {cost.currency} "
        f"a million images; {cost.driver} costs most ({shares})"
    )
