"""A plan: replicas, the autoscaler's numbers, what it costs and what for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from cxrserve.capacity.asking import Asked
from cxrserve.capacity.demand import REQUESTS, Enough, Trial, fewest
from cxrserve.capacity.hardware_file import HardwareFile, Price
from cxrserve.simulation.autoscaled import Fleet, Outcome, run
from cxrserve.simulation.autoscaling.autoscaler import Start
from cxrserve.simulation.autoscaling.recommended import recommended
from cxrserve.simulation.device import Hardware
from cxrserve.simulation.loads import ramp, spike

_TARGET_STEP = 0.05
# The same machine was measured 15 % slower within minutes: no less is left for that.
_HIGHEST_TARGET = 0.8
# Replicas that stand for a larger fleet when a spike is simulated, and how long it lasts.
_STAND_FOR = 4
_SPIKE_S = 120.0
_BEFORE_S = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaler:
    """The autoscaler's numbers.

    Attributes:
        target: of the predicted utilisation: the highest, in steps of 0.05, with which the peak
            is simulated to keep the SLO.
        least, most: replicas.
        outcome: of the peak, simulated with a fleet that is a share of this one.
        too_high: the next target and what the peak then comes to; None: nothing is higher.
    """

    target: float
    least: int
    most: int
    outcome: Outcome
    too_high: tuple[float, Outcome] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the average load costs, where the hardware has a price.

    Attributes:
        an_hour, a_million: in `currency`; of images.
        shares: of the cost, by what it is for; without a price: of cores, or GPUs.
    """

    currency: str | None
    an_hour: float
    a_million: float
    shares: dict[str, float]

    @property
    def driver(self) -> str:
        """What costs most."""
        return max(self.shares, key=lambda name: self.shares[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is needed for what was asked.

    Attributes:
        mean, peak: fixed numbers that do for the average and for the peak, without head-room.
        scaler: None: none was asked for.
        replicas: on average; with head-room and zones.
        mbit_s: of uploads at the gateway, on average.
    """

    asked: Asked
    model: str
    image: str
    hardware: str
    origin: str
    replica: dict[str, Any]
    parts_ms: dict[str, float]
    rate_of_one: float
    mean: Enough
    peak: Enough
    scaler: Scaler | None
    replicas: int
    cost: Cost
    mbit_s: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = asdict(self)
        found["asked"]["shares"] = {
            priority.name.lower(): share for priority, share in self.asked.shares.items()
        }
        found["cost"]["driver"] = self.cost.driver
        return found


def plan(
    asked: Asked,
    file: HardwareFile,
    *,
    model: str,
    image: str,
    seed: int = 1,
    requests: int = REQUESTS,
    with_autoscaler: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Find what is needed, by simulation; the same seed, the same plan.

    Args:
        requests: that each trial of a fixed number simulates.
        tell: is told what is being simulated.

    Raises:
        HardwareError: there is no such model or image in the file.
        Impossible: nothing does.
    """
    hardware = file.hardware(model, image)
    tell("fixed number, average load")
    mean = fewest(hardware, asked, asked.rate, seed=seed, requests=requests)
    tell("fixed number, peak")
    at_peak = asked.rate * asked.peak_factor
    peak = fewest(hardware, asked, at_peak, seed=seed, requests=requests)
    scaler, needed = None, peak.kept.replicas
    if with_autoscaler:
        tell("autoscaler")
        scaler = scaler_for(hardware, asked, mean, peak, starts_s=file.replica.starts_s, seed=seed)
        needed = scaler.least
    needed = max(needed, _surviving(mean.kept.replicas, asked.zones))
    return Plan(
        asked=asked,
        model=model,
        image=image,
        hardware=file.name,
        origin=file.origin,
        replica=file.replica.model_dump(),
        parts_ms=file.parts_ms(model, image),
        rate_of_one=hardware.rate(),
        mean=mean,
        peak=peak,
        scaler=scaler,
        replicas=needed,
        cost=cost_of(asked, file, hardware, model, image, replicas=needed),
        mbit_s=asked.rate * file.image(image).bytes * 8 / 1e6,
    )


def scaler_for(
    hardware: Hardware, asked: Asked, mean: Enough, peak: Enough, *, starts_s: float, seed: int
) -> Scaler:
    """The highest target with which the peak, coming as fast as asked, keeps the SLO."""
    # At a peak-factor less than a steady load may reach, nothing has to scale.
    lowest = max(1, math.floor(mean.kept.load / asked.peak_factor / _TARGET_STEP))
    highest = max(lowest, round(_HIGHEST_TARGET / _TARGET_STEP))
    seen: dict[int, Outcome] = {}

    def keeps(steps: int) -> bool:
        if steps not in seen:
            target = steps * _TARGET_STEP
            seen[steps] = _peak(hardware, asked, target, starts_s=starts_s, seed=seed)
        return seen[steps].kept

    low, high = lowest, highest + 1
    keeps(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    target = round(low * _TARGET_STEP, 2)
    least = math.ceil(asked.rate / (target * hardware.rate()))
    least = max(least, _surviving(mean.kept.replicas, asked.zones))
    most = math.ceil(asked.rate * asked.peak_factor / (target * hardware.rate()))
    return Scaler(
        target=target,
        least=least,
        most=max(least, _surviving(max(most, peak.kept.replicas), asked.zones)),
        outcome=seen[low],
        too_high=(round(high * _TARGET_STEP, 2), seen[high]) if high in seen else None,
    )


def _peak(
    hardware: Hardware, asked: Asked, target: float, *, starts_s: float, seed: int
) -> Outcome:
    count = max(1, math.ceil(asked.rate / (target * hardware.rate())))
    shown = min(count, _STAND_FOR)
    base = asked.rate * shown / count
    most = math.ceil(base * asked.peak_factor / (target * hardware.rate()))
    fleet = Fleet(
        hardware=hardware,
        slo_s=asked.slo_s,
        replicas=shown,
        autoscaling=recommended(least=shown, most=max(shown, most), target=target),
        start=Start(pending_s=min(3.0, starts_s), ready_s=starts_s),
        shares=asked.shares,
        balancer=asked.balancer,
    )
    load = spike(base, asked.peak_factor, before_s=_BEFORE_S, lasts_s=_SPIKE_S, after_s=0.0)
    if asked.rise_s:
        load = ramp(
            base, asked.peak_factor, before_s=_BEFORE_S, rises_s=asked.rise_s, holds_s=_SPIKE_S
        )
    return run(fleet, load, seed=seed)[1]


def _surviving(replicas: int, zones: int) -> int:
    """Spread evenly, these many are left when a zone is gone."""
    return replicas if zones == 1 else math.ceil(replicas / (zones - 1)) * zones


def cost_of(
    asked: Asked, file: HardwareFile, hardware: Hardware, model: str, image: str, *, replicas: int
) -> Cost:
    """What so many replicas cost, and what share of it is used for what."""
    gpus, cores = file.replica.gpus, file.replica.cores
    price = file.price or Price(
        currency="none", core_hour=0.0 if gpus else 1.0, gpu_hour=1.0 if gpus else 0.0
    )
    parts_ms = file.parts_ms(model, image)
    network_s = 1 / hardware.table.best_rate()
    core_hours = {
        "decode": asked.rate * parts_ms["decode"] / 1e3,
        "service": asked.rate * parts_ms["service"] / 1e3,
    }
    costs = {"memory": replicas * file.replica.memory_gib * price.gib_hour}
    if gpus:
        busy = asked.rate / (replicas * file.hardware(model, image).rate())
        costs["network"] = min(busy, 1.0) * replicas * gpus * price.gpu_hour
        costs["head-room"] = replicas * gpus * price.gpu_hour - costs["network"]
    else:
        core_hours["network"] = asked.rate * network_s
    idle = max(0.0, replicas * cores - sum(core_hours.values()))
    for name, hours in {**core_hours, "head-room": idle}.items():
        costs[name] = costs.get(name, 0.0) + hours * price.core_hour
    an_hour = sum(costs.values())
    return Cost(
        currency=None if file.price is None else price.currency,
        an_hour=an_hour,
        a_million=an_hour / (asked.rate * 3600) * 1e6,
        shares={name: cost / an_hour if an_hour else 0.0 for name, cost in costs.items()},
    )


def trials(found: Plan) -> list[tuple[str, Trial]]:
    """Each fixed number that was found, and the one fewer that fails, with their names."""
    rows = []
    for name, enough in (("average", found.mean), ("peak", found.peak)):
        rows.append((name, enough.kept))
        if enough.failed is not None:
            rows.append((f"{name}, one fewer", enough.failed))
    return rows
