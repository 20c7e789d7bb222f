"""The shape of a load: how much there is of it when, and what must hold meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from load_tests.callers.events import Outcome
from load_tests.callers.thresholds import ALWAYS_NONE, Threshold, threshold_of

SHAPES = Path(__file__).parent / "shapes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One shape.

    Attributes:
        file: the YAML file.
        about: in a sentence.
        seconds: length of the run.
        load: films a second at level 1, as a share of what the service can do.
        levels: (share of the run, level), ascending; in between the level is on a straight line.
        day: callers follow a day that lasts as long as the run, see `DAYS`.
        allows: outcomes that may happen besides answers.
        thresholds: see there.
    """

    file: Path
    about: str
    seconds: float
    load: float
    levels: tuple[tuple[float, float], ...]
    day: bool = False
    allows: frozenset[Outcome] = frozenset()
    thresholds: tuple[Threshold, ...] = ()

    @property
    def name(self) -> str:
        """Of its file."""
        return self.file.stem

    def level(self, at_s: float) -> float:
        """The level at a time, in s from the start."""
        share = at_s / self.seconds
        before = self.levels[0]
        for after in self.levels:
            if after[0] >= share:
                width = after[0] - before[0]
                part = (share - before[0]) / width if width > 0 else 1.0
                return before[1] + part * (after[1] - before[1])
            before = after
        return before[1]

    def activity(self, caller: str, at_s: float) -> float:
        """How much of its own mean rate a caller has at a time, in s from the start."""
        day = DAYS.get(caller) if self.day else None
        return 1.0 if day is None else day.at(24 * (at_s / self.seconds % 1))

    def busiest(self, caller: str) -> float:
        """What `activity` never exceeds."""
        return DAYS[caller].most if self.day and caller in DAYS else 1.0


@dataclass(frozen=True, slots=True)
class Day:
    """How busy a caller is at an hour (0..24), 1 on average, and at most."""

    at: Callable[[float], float]
    most: float


def _portal(hour: float) -> float:
    """Patients' phones: late morning, early evening, and a quiet night. Drawn, not measured."""
    morning = math.exp(-(((hour - 10.5) / 2.6) ** 2))
    evening = 0.8 * math.exp(-(((hour - 18.5) / 2.2) ** 2))
    return (_QUIET + morning + evening) / _PORTAL_MEAN


_QUIET = 0.12
# The humps' areas, sqrt(pi) × height × width, over 24 hours, and the night.
_PORTAL_MEAN = _QUIET + math.sqrt(math.pi) * (2.6 + 0.8 * 2.2) / 24
_NIGHT = (20.0, 6.0)


def _night_job(hour: float) -> float:
    """A job that runs from eight in the evening to six."""
    begins, ends = _NIGHT
    return 24 / (24 - begins + ends) if hour >= begins or hour < ends else 0.0


DAYS = {
    "telemedicine": Day(_portal, 1.15 / _PORTAL_MEAN),
    "back-fill": Day(_night_job, _night_job(0)),
}
"""Callers with hours; a hospital never sleeps."""


def read_shape(name: str, *, seconds: float | None = None) -> Shape:
    """The shape of a name, or of a YAML file.

    Args:
        seconds: instead of the file's own.

    Raises:
        ValueError: there is no such shape, or it does not make sense.
    """
    file = SHAPES / f"{name}.yaml" if "/" not in name and "." not in name else Path(name)
    if not file.is_file():
        names = ", ".join(sorted(one.stem for one in SHAPES.glob("*.yaml")))
        raise ValueError(f"there is no shape {name!r}; choose one of {names}, or give a YAML file")
    try:
        told = yaml.safe_load(file.read_text("utf-8"))
        shape = Shape(
            file=file.resolve(),
            about=str(told["about"]),
            seconds=float(told["seconds"]),
            load=float(told["load"]),
            levels=tuple((float(share), float(level)) for share, level in told["levels"]),
            day=bool(told.get("day", False)),
            allows=frozenset(Outcome(one) for one in told.get("allows", ())),
            thresholds=tuple(threshold_of(one) for one in told.get("thresholds", ())),
        )
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file.name}: {type(error).__name__}: {error}") from None
    _check(shape, file.name)
    return shape if seconds is None else replace(shape, seconds=seconds)


def _check(shape: Shape, name: str) -> None:
    shares = [share for share, _ in shape.levels]
    if shares != sorted(shares) or shares[0] != 0 or shares[-1] != 1:
        raise ValueError(f"{name}: the levels must go from 0 to 1, not {shares}")
    if min(shape.seconds, shape.load, *(level for _, level in shape.levels)) <= 0:
        raise ValueError(f"{name}: seconds, load and levels must be positive")
    if shape.allows & ALWAYS_NONE:
        raise ValueError(f"{name}: lost and wrong answers cannot be allowed")
