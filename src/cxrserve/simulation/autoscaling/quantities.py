"""Kubernetes' and Prometheus' ways to write numbers and times."""

from __future__ import annotations

import re

_SUFFIXES = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip
_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def quantity(written: str | float) -> float:
    """The number that a Kubernetes quantity stands for: "600m" is 0.6.

    Raises:
        ValueError: this is none.
    """
    found = re.fullmatch(r"([+-]?[0-9]*\.?[0-9]+)([A-Za-z]*)", str(written))
    if found is None or found[2] not in _SUFFIXES:
        raise ValueError(f"{written!r} is no quantity of Kubernetes, as 600m, 2 or 4Gi are")
    return float(found[1]) * _SUFFIXES[found[2]]


def seconds(written: str) -> float:
    """The seconds of a Prometheus duration: "1m30s" is 90.

    Raises:
        ValueError: this is none.
    """
    parts = re.findall(r"([0-9]+)(ms|[smhd])", written)
    if not parts or "".join(number + unit for number, unit in parts) != written:
        raise ValueError(f"{written!r} is no duration of Prometheus, as 7s or 1m30s are")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
