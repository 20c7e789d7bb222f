"""How a replica leaves: it says so while it still answers, then takes nobody in, then ends.

BentoML's supervisor holds a copy of the listening socket until its worker has ended: the kernel
would go on completing connections that nobody accepts any more. So the socket itself is shut down,
and who comes later is refused at once and goes elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any


class Departure:
    """Stands before the server's own handler of SIGTERM.

    Args:
        delay_s: how long the service goes on answering, so that balancers see that it leaves.
        say_so: makes readiness and health say no; answers go on.
        listener: shut down after that; None where it is not known.
    """

    def __init__(
        self,
        *,
        delay_s: float,
        say_so: Callable[[], Awaitable[None]],
        listener: socket.socket | None,
    ) -> None:
        self._delay_s, self._say_so, self._listener = delay_s, say_so, listener
        self._loop = asyncio.get_running_loop()
        self._ends: Any = None
        self._task: asyncio.Task[None] | None = None

    def install(self) -> None:
        """From now on SIGTERM comes here first; for the main thread, once the server listens."""
        self._ends = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, self._leave)

    def _leave(self, number: int, frame: FrameType | None) -> None:
        if self._task is not None:  # told twice: at once
            self._end(number, frame)
            return
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        if self._task is None:
            self._task = asyncio.ensure_future(self._then_end(number))

    async def _then_end(self, number: int) -> None:
        try:
            await self._say_so()
            await asyncio.sleep(self._delay_s)
        finally:
            self._end(number, None)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._listener is not None:
            listener, self._listener = self._listener, None
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        if callable(self._ends):
            self._ends(number, frame)


def listening_socket() -> socket.socket | None:
    """The socket that BentoML's supervisor gave this worker (`--fd`), as one more copy of it."""
    arguments = sys.argv
    if "--fd" not in arguments[:-1]:
        return None
    number = arguments[arguments.index("--fd") + 1]
    return socket.socket(fileno=os.dup(int(number))) if number.isdigit() else None
