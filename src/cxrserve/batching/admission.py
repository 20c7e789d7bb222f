"""How much the service takes in at once, in requests and in bytes of uploads."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from cxrserve.batching.line import Priority
from cxrserve.errors import Overloaded

# Stat requests find room in a service that is full of others.
_STAT_EXTRA = 1.25


class Admission:
    """Counts what is inside; refuses what would be too much. Used from one event loop.

    Args:
        requests: requests inside at once.
        upload_bytes: bytes of their uploads at once.
        turned_away: told of each that is refused here.
    """

    def __init__(
        self, *, requests: int, upload_bytes: int, turned_away: Callable[[], None] = lambda: None
    ) -> None:
        self._most_requests, self._most_bytes = requests, upload_bytes
        self._turned_away = turned_away
        self.requests = 0
        self.upload_bytes = 0

    def enter(self, priority: Priority = Priority.ROUTINE) -> Admitted:
        """Take in one request; leave by closing what is returned.

        Raises:
            Overloaded: too many are inside.
        """
        most = self._most_requests * (_STAT_EXTRA if priority is Priority.STAT else 1)
        if self.requests >= most:
            self._turned_away()
            raise _full(f"{self.requests} requests are being answered already")
        self.requests += 1
        return Admitted(self)

    def _grow(self, size: int) -> None:
        # A single upload is bounded elsewhere; alone it always gets in.
        if self.upload_bytes and self.upload_bytes + size > self._most_bytes:
            self._turned_away()
            raise _full(f"{self.upload_bytes} bytes of uploads are being read already")
        self.upload_bytes += size


class Admitted:
    """One request that is inside, and the bytes it brought."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._bytes = 0

    def grow(self, size: int) -> None:
        """Count `size` more bytes of the upload.

        Raises:
            Overloaded: all uploads together are too many bytes.
        """
        self._admission._grow(size)
        self._bytes += size

    def __enter__(self) -> Admitted:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._admission.requests -= 1
        self._admission.upload_bytes -= self._bytes


def _full(detail: str) -> Overloaded:
    return Overloaded(detail, advice="come back in a second", retry_after_s=1.0)
