"""An image that was read by the networks, and what answers make of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve import answer as answers
from cxrserve.radiograph.radiograph import Radiograph
from cxrserve.reporting.reading import LungField, Reading, lung_field
from cxrserve.reporting.result import result_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """An image that was read by all models asked.

    Attributes:
        radiograph: its size and facts, without pixels.
        image: what answers say of it.
        readings: what each model's network gave.
        outlined: the lung outliner's reading, where boxes may need one.
        shown: what a picture is drawn over, where one is asked for.
        started, decoded: on the predictor's clock, in seconds.
        queue_ms, inference_ms: of the model that took longest.
    """

    radiograph: Radiograph
    image: answers.ImageSeen
    readings: tuple[Reading, ...]
    outlined: Reading | None
    shown: NDArray[np.uint8] | None
    started: float
    decoded: float
    queue_ms: float
    inference_ms: float

    def lungs(self) -> LungField | None:
        """Where the lungs are, if somebody outlined them."""
        return lung_field(self.outlined, self.radiograph) if self.outlined else None

    def timings_ms(self, now: float) -> answers.Timings:
        """What took how long, until `now`."""
        return answers.Timings(
            decode=round((self.decoded - self.started) * 1e3, 3),
            queue=round(self.queue_ms, 3),
            inference=round(self.inference_ms, 3),
            total=round((now - self.started) * 1e3, 3),
        )


def results_of(film: Film, *, explain: bool) -> tuple[answers.Result, ...]:
    """What each model says of the film."""
    lungs = film.lungs()
    return tuple(
        result_of(reading, film.radiograph, explain=explain, lungs=lungs)
        for reading in film.readings
    )
