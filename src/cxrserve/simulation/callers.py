"""Who was refused and comes back: when, and whether at all, as the service's own clients do."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from cxrserve.batching.line import Waiting
from cxrserve.client.retries import PATIENT, Retries


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """Callers that obey `Retry-After`, as `cxrserve.client` does (docs/client.md).

    Attributes:
        retries: how long, and with how much jitter.
        keeps_deadline: a request's deadline stays what it was when it first came, and who cannot
            make it stays away: clients that ask with `deadline_ms`. Otherwise each attempt has as
            much time as the first: clients that name none.
    """

    retries: Retries = PATIENT
    keeps_deadline: bool = True

    def returning(
        self,
        first: Waiting,
        *,
        attempt: int,
        now: float,
        retry_after_s: float,
        rng: np.random.Generator,
    ) -> Waiting | None:
        """The next attempt, arriving later; None: there is none.

        Args:
            first: the request as it first came.
            attempt: which was refused now, 1 the first.
            retry_after_s: what it was told; infinite: nobody could answer it in time.
        """
        if math.isinf(retry_after_s):
            return None
        told_s = max(1, math.ceil(retry_after_s))  # the header counts whole seconds
        at = now + self.retries.pause_s(attempt, told_s, float(rng.random()))
        if at - first.arrived > self.retries.total_s:
            return None
        if not self.keeps_deadline:
            return replace(first, arrived=at, deadline=at + first.deadline - first.arrived)
        return None if at >= first.deadline else replace(first, arrived=at)
