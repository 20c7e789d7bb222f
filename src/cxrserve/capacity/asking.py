"""What is asked of a plan, as people write it: 200/s, 1e6/h, 300ms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cxrserve.batching.line import Priority

_PER_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_IN_S = {"ms": 1e-3, "s": 1.0, "min": 60.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The load, and what is promised.

    Attributes:
        rate: images a second, on average.
        slo_s: within which 99 % are answered.
        peak_factor: times the average at the busiest.
        rise_s: in which the peak comes; 0: at once.
        shares: of stat, urgent and routine requests.
        zones: the loss of one of them is survived at the average load; 1: it is not.
        balancer: how requests are shared out; see `simulation.replicas`.
    """

    rate: float
    slo_s: float
    peak_factor: float = 3.0
    rise_s: float = 0.0
    shares: dict[Priority, float] = field(
        default_factory=lambda: {
            Priority.STAT: 0.1,
            Priority.URGENT: 0.2,
            Priority.ROUTINE: 0.7,
        }
    )
    zones: int = 1
    balancer: str = "random"


def rate_of(written: str) -> float:
    """Images a second of "200/s", "12000/min", "1e6/h" or "2000000/d".

    Raises:
        ValueError: this is no such rate, or not above zero.
    """
    number, slash, unit = written.strip().partition("/")
    value = _number(number)
    if not slash or unit.strip() not in _PER_S or value is None or value <= 0:
        units = ", ".join(_PER_S)
        raise ValueError(f"{written!r} is no rate: a number, a slash, and one of {units}: 200/s")
    return value / _PER_S[unit.strip()]


def time_of(written: str) -> float:
    """Seconds of "300ms", "5s" or "1min".

    Raises:
        ValueError: this is no such time, or below zero.
    """
    found = re.fullmatch(r"\s*([0-9.eE+]+)\s*(ms|s|min)\s*", written)
    value = _number(found[1]) if found else None
    if found is None or value is None:
        units = ", ".join(_IN_S)
        raise ValueError(f"{written!r} is no time: a number and one of {units}: 300ms")
    return value * _IN_S[found[2]]


def mix_of(written: str) -> dict[Priority, float]:
    """Shares of stat, urgent and routine requests: "0.1,0.2,0.7".

    Raises:
        ValueError: these are not three numbers that add up to 1.
    """
    shares = [_number(part) for part in written.split(",")]
    given = [share for share in shares if share is not None and share >= 0]
    if len(given) != len(Priority) or len(shares) != len(given) or abs(sum(given) - 1) > 1e-6:
        raise ValueError(f"{written!r} is no mix: shares of stat,urgent,routine that add up to 1")
    return dict(zip(Priority, given, strict=True))


def _number(written: str) -> float | None:
    try:
        return float(written)
    except ValueError:
        return None
