"""How long a batch takes, by its size: measured at warm-up, kept true by what runs since."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, Self

SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
GPU_SIZES = (*SIZES, 24, 32, 48, 64)

# One observation counts as at most twice, or half, what was expected …
_CLIP = math.log(2)
# … and of that, this share moves all sizes (a noisy neighbour, a hot processor slow every batch
# alike), and this share the observed size alone (warm-up measured it badly).
_COMMON_GAIN = 0.12
_OWN_GAIN = 0.03
LARGEST_MOVE = math.exp(_CLIP * (_COMMON_GAIN + _OWN_GAIN))
"""One call of `observe` multiplies or divides no time by more than this: 1.11."""

# A clock too coarse to see a batch must not give a time of zero, whose logarithm has no value.
_SHORTEST_S = 1e-7


class LatencyTable:
    """Seconds of a batch by its size: never less for a larger batch.

    Between measured sizes it is linear. Measured times that fall with size are noise: they are
    pooled to their geometric mean (isotonic regression, Barlow et al. 1972, of the logarithms).

    Args:
        seconds: time of a batch by its size; size 1 must be there.

    Raises:
        ValueError: no size 1, a size below 1, or a time that is negative or not finite.
    """

    def __init__(self, seconds: Mapping[int, float]) -> None:
        self._sizes = tuple(sorted(seconds))
        if not self._sizes or self._sizes[0] != 1:
            raise ValueError(f"a latency table needs the time of batch 1; it has {self._sizes}")
        # The time of size i is exp(shape[i] + drift): what is common to all sizes stands apart,
        # so that sizes that are seldom run follow it too.
        self._shape = [_log_of(seconds[size]) for size in self._sizes]
        self._drift = 0.0
        self._refresh()

    @classmethod
    def flat(cls, seconds: float, sizes: Iterable[int] = SIZES) -> Self:
        """A table where any batch takes the same time."""
        return cls(dict.fromkeys(sizes, seconds))

    @classmethod
    def linear(cls, start_s: float, each_s: float, sizes: Iterable[int] = SIZES) -> Self:
        """A table where a batch of n takes `start_s + n * each_s`."""
        return cls({size: start_s + size * each_s for size in sizes})

    @property
    def sizes(self) -> tuple[int, ...]:
        """The measured sizes, ascending."""
        return self._sizes

    @property
    def largest(self) -> int:
        """The largest measured size."""
        return self._sizes[-1]

    @property
    def drift(self) -> float:
        """How much longer every batch takes than at warm-up: 1 is as then, 2 twice as long."""
        return math.exp(self._drift)

    def seconds(self, size: int) -> float:
        """Time of a batch of `size`, in seconds.

        Raises:
            ValueError: `size` is not within 1..largest.
        """
        return self._between(self._seconds, size)

    def best_rate(self) -> float:
        """Images a second at the size that gives most of them, one batch after the other."""
        return self._best_rate

    def observe(self, size: int, seconds: float) -> None:
        """Learn that a batch of `size` took `seconds` just now.

        No time moves by more than the factor `LARGEST_MOVE`, however odd the observation.

        Raises:
            ValueError: `size` is not within 1..largest, or the time is negative or not finite.
        """
        # Held against what was seen of this size, not against the pooled curve: two sizes that
        # pull a pool apart would otherwise drift from each other for ever.
        expected = self._between(self._seen(), size)
        surprise = _log_of(seconds) - math.log(expected)
        surprise = min(max(surprise, -_CLIP), _CLIP)
        self._drift += _COMMON_GAIN * surprise
        above = bisect_left(self._sizes, size)
        weight = self._weight(above, size)
        self._shape[above] += _OWN_GAIN * surprise * weight
        self._shape[above - 1] += _OWN_GAIN * surprise * (1 - weight)
        self._refresh()

    def as_dict(self) -> dict[str, list[float]]:
        """The present times, for JSON: `sizes`, and `seconds` of each."""
        return {"sizes": list(self._sizes), "seconds": list(self._seconds)}

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """A table from what `as_dict` gave.

        Raises:
            ValueError: this is no such table.
        """
        try:
            return cls(
                {
                    int(size): float(time)
                    for size, time in zip(data["sizes"], data["seconds"], strict=True)
                }
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError("this is no latency table") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LatencyTable) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]  # it changes with what it observes

    def __repr__(self) -> str:
        times = ", ".join(
            f"{size}: {time * 1e3:.3g} ms"
            for size, time in zip(self._sizes, self._seconds, strict=True)
        )
        return f"LatencyTable({times})"

    def _seen(self) -> list[float]:
        return [math.exp(value + self._drift) for value in self._shape]

    def _refresh(self) -> None:
        self._seconds = [math.exp(value + self._drift) for value in _isotonic(self._shape)]
        # n / (a + b n) is monotone, so no size between two measured ones is better than both.
        rates = [size / time for size, time in zip(self._sizes, self._seconds, strict=True)]
        self._best_rate = max(rates)

    def _between(self, times: list[float], size: int) -> float:
        if not 1 <= size <= self.largest:
            raise ValueError(f"batch size {size} is not within 1..{self.largest}")
        above = bisect_left(self._sizes, size)
        weight = self._weight(above, size)
        return weight * times[above] + (1 - weight) * times[above - 1]

    def _weight(self, above: int, size: int) -> float:
        """How far `size` lies from the measured size below it (0) to the one at `above` (1)."""
        if self._sizes[above] == size:
            return 1.0
        below = self._sizes[above - 1]
        return (size - below) / (self._sizes[above] - below)


def _log_of(seconds: float) -> float:
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"a batch cannot take {seconds} s")
    return math.log(max(seconds, _SHORTEST_S))


def _isotonic(values: list[float]) -> list[float]:
    """The nearest sequence that never falls: neighbours that do are pooled to their mean."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, members = pools.pop()
            mean = (before * members + mean * count) / (members + count)
            count += members
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]
