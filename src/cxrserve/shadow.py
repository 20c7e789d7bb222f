"""A new version is asked what the present one answered, and only compared: a shadow.

Nobody waits for it: it is asked while there is room, and who would wait long is skipped.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxrserve.asked import Asked
from cxrserve.batching.batcher import Asking, Batcher
from cxrserve.batching.device import Clock
from cxrserve.batching.line import Priority
from cxrserve.engines.engine import Outputs
from cxrserve.errors import CxrError
from cxrserve.findings.interpret import find
from cxrserve.reporting.reading import Reading

DIFFERENCES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Upper bounds of the classes that differences of probabilities are counted in."""
_CLIENT = "shadow"
# Of the time for an answer: who would wait longer is skipped.
_MOST_WAIT = 0.1


@dataclass(slots=True)
class Comparison:
    """How a candidate's answers compare with those that were given.

    Attributes:
        outcomes: `agreed` (positive are the same labels), `differed`, `failed`, and `skipped`
            where there was no room.
        changes: by label and `gained` or `lost`: findings that the candidate has more or less.
        differences: of probabilities, the largest of each answer, by class of `DIFFERENCES`.
        sum_of_differences: of the same.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    differences: list[int] = field(default_factory=lambda: [0] * len(DIFFERENCES))
    sum_of_differences: float = 0.0


class Shadows:
    """Asks candidates, and keeps how they compare. Used from one event loop.

    Args:
        batcher: where they run.
        clock: seconds, monotonic.
        deadline_s: time for an answer.
    """

    def __init__(self, batcher: Batcher, *, clock: Clock, deadline_s: float) -> None:
        self._batcher, self._clock, self._deadline_s = batcher, clock, deadline_s
        self._running: set[asyncio.Task[None]] = set()
        self.comparisons: dict[tuple[str, str], Comparison] = {}
        """By `name@version` of who answered and of the candidate."""

    def ask(self, reading: Reading, candidate: Asked, pixels: NDArray[np.uint8]) -> None:
        """Ask a candidate about an image that was just read; returns at once.

        Args:
            reading: what was answered.
            candidate: the other version; loaded now.
            pixels: uint8 `[side, side]`, prepared for it.
        """
        names = (reading.model.full_name, candidate.model.full_name)
        seen = self.comparisons.setdefault(names, Comparison())
        wait_s = self._batcher.expected_wait_s(candidate.model.engine)
        busy = len(self._running) >= self._batcher.processors
        if busy or wait_s > _MOST_WAIT * self._deadline_s:
            seen.outcomes["skipped"] += 1
            return
        task = asyncio.ensure_future(self._compare(reading, candidate, pixels, seen))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _compare(
        self, reading: Reading, candidate: Asked, pixels: NDArray[np.uint8], seen: Comparison
    ) -> None:
        engine = candidate.model.engine
        asking = Asking(
            priority=Priority.ROUTINE,
            deadline=self._clock() + self._deadline_s,
            client=_CLIENT,
            decoded=True,
        )
        try:
            with self._batcher.enter([engine], asking) as booking:
                given = await booking.submit(engine, pixels[None])
        except CxrError:
            seen.outcomes["failed"] += 1
            return
        _note(reading, candidate, given.outputs, seen)


def _note(reading: Reading, candidate: Asked, outputs: object, seen: Comparison) -> None:
    assert isinstance(reading.outputs, Outputs)
    assert isinstance(outputs, Outputs)
    given = find(reading.model.manifest, reading.outputs.logits[0], reading.operating_point)
    other = find(candidate.model.manifest, outputs.logits[0], candidate.operating_point)
    before = {one.label for one in given if one.positive}
    after = {one.label for one in other if one.positive}
    seen.outcomes["agreed" if before == after else "differed"] += 1
    seen.changes.update((label, "gained") for label in after - before)
    seen.changes.update((label, "lost") for label in before - after)
    was = {one.label: one.probability for one in given if one.probability is not None}
    largest = max(
        (
            abs(one.probability - was[one.label])
            for one in other
            if one.probability is not None and one.label in was
        ),
        default=0.0,
    )
    seen.differences[min(bisect_left(DIFFERENCES, largest), len(DIFFERENCES) - 1)] += 1
    seen.sum_of_differences += largest
