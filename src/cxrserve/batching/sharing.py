"""Identical images in flight, computed once: for front-ends that send a film to several readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cxrserve.errors import DeadlineExceeded

Given = TypeVar("Given")


@dataclass(slots=True)
class _InFlight(Generic[Given]):
    task: asyncio.Task[Given]
    waiting: int


class Sharing(Generic[Given]):
    """Work in flight by key. Who joins gets the answer of who came first, and no later one."""

    def __init__(self) -> None:
        self._in_flight: dict[bytes, _InFlight[Given]] = {}

    async def run(self, key: bytes, work: Callable[[], Coroutine[Any, Any, Given]]) -> Given:
        """Do the work, or wait for the same work that is being done already.

        It goes on while anybody waits for it. Where it ends because its first caller's deadline
        passed, who joined with a later one does it himself.
        """
        shared = self._in_flight.get(key)
        joined = shared is not None
        if shared is None:
            shared = _InFlight(asyncio.ensure_future(work()), 0)
            self._in_flight[key] = shared
            shared.task.add_done_callback(lambda task: self._forget(key, task))
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        except DeadlineExceeded:
            if not joined:
                raise
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                shared.task.cancel()
        return await work()

    def _forget(self, key: bytes, task: asyncio.Task[Given]) -> None:
        if key in self._in_flight and self._in_flight[key].task is task:
            del self._in_flight[key]
        if not task.cancelled():
            task.exception()  # told to who waits; asyncio would log it once more
