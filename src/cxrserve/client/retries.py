"""When one request is sent again, and with how much time: pure but for the clock passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

import httpx

from cxrserve.client.calls import Call, Given
from cxrserve.client.replies import Lost, Reply, error_of_lost
from cxrserve.errors import CxrError

CONNECT_S = 5.0
"""Seconds a connection may take: a service that is there takes milliseconds."""

_ANSWER_ON_ITS_WAY_S = 1.0
"""How much longer than its deadline a request is waited for: the service ends it itself, and says
so better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How long and how often one request is sent again. All in seconds.

    Attributes:
        total_s: no attempt begins later than this after the first; 0: there is only one.
        first_s: pause before the second attempt where the service names none; it doubles.
        most_s: longest such pause.
        jitter_s: what is added at random, at most, and at most a quarter of the pause. The service
            keeps a place for 5 s from the time it names (`batching/promises.py`).
    """

    total_s: float = 60.0
    first_s: float = 0.2
    most_s: float = 5.0
    jitter_s: float = 1.0

    def pause_s(self, attempt: int, retry_after_s: float | None, chance: float) -> float:
        """Seconds to wait after an attempt (1 is the first): never less than was asked for.

        Args:
            chance: in 0..1, spreads clients that were refused together.
        """
        pause_s = retry_after_s or min(self.most_s, self.first_s * 2.0 ** min(attempt - 1, 64))
        return pause_s + chance * min(self.jitter_s, pause_s / 4)


PATIENT = Retries()
ONCE = Retries(total_s=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """What all requests of one client have in common.

    Attributes:
        retries: see there.
        timeout_s: for sending, and for an answer, where a request has no `deadline_ms`.
        check_ids: an answer must carry the id of its request.
        clock: seconds, monotonic.
        chance: random numbers in 0..1.
    """

    retries: Retries
    timeout_s: float
    check_ids: bool
    clock: Callable[[], float]
    chance: Callable[[], float]


class Attempts(Generic[Given]):
    """The attempts of one call: `request`, `pause_after` what came, and in the end its `result`."""

    def __init__(self, call: Call[Given], patience: Patience) -> None:
        self._call, self._patience = call, patience
        self._started = self._sent = patience.clock()
        self._count = 0

    def request(self) -> dict[str, Any]:
        """What httpx is to send now; the service is told how much of the deadline is left."""
        call = self._call
        self._sent = self._patience.clock()
        self._count += 1
        params, timeout_s = list(call.params), self._patience.timeout_s
        if call.deadline_ms is not None:
            left_ms = call.deadline_ms - (self._sent - self._started) * 1e3
            params.append(("deadline_ms", f"{max(left_ms, 1.0):.1f}"))
            timeout_s = max(left_ms, 1.0) / 1e3 + _ANSWER_ON_ITS_WAY_S
        return {
            "method": call.method,
            "url": call.path,
            "params": params,
            "headers": {**call.headers, "X-Request-ID": call.request_id},
            "content": call.body or None,
            "timeout": httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
        }

    def pause_after(self, came: Reply | Lost) -> float | None:
        """Seconds until the next attempt, or None: that was the last, or it would be too late.

        An answer takes no less than the last refusal took: with less time left, none can come.
        """
        if not came.worth_another:
            return None
        now, retries = self._patience.clock(), self._patience.retries
        pause_s = retries.pause_s(self._count, came.retry_after_s, self._patience.chance())
        next_s = now + pause_s - self._started
        if next_s > retries.total_s:
            return None
        if self._call.deadline_ms is not None:
            answer_s = 0.0 if isinstance(came, Lost) else now - self._sent
            if next_s + answer_s >= self._call.deadline_ms / 1e3:
                return None
        return pause_s

    def result(self, came: Reply | Lost) -> Given:
        """The answer.

        Raises:
            CxrError: what the last attempt came to, its `facts` with `request_id` and `attempts`.
        """
        call = self._call
        try:
            if isinstance(came, Lost):
                raise error_of_lost(came, call.deadline_ms)
            return call.read(came, call.request_id if self._patience.check_ids else None)
        except CxrError as error:
            error.facts = {
                **error.facts,
                "request_id": call.request_id,
                "attempts": self._count,
            }
            raise
