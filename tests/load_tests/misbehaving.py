"""A small HTTP server that misbehaves as it is told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops"
CUT_SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly"
NO_HTTP = b"220 mail.example.org ESMTP\r\n\r\n"
TWICE = OK + OK
DROP = b""
NEVER = None


class Misbehaving:
    """Answers requests with `answers` in turn; `delay_s` each, one at a time if `alone`."""

    def __init__(
        self, answers: tuple[bytes | None, ...], *, delay_s: float = 0.0, alone: bool = False
    ) -> None:
        self._answers = itertools.cycle(answers)
        self._delay_s = delay_s
        self._turn: asyncio.Lock | None = asyncio.Lock() if alone else None
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answered(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head, body = await _request(reader)
        answer = self._answer_to(head, body)
        await self._work()
        if answer is NEVER:
            await asyncio.sleep(60)
        writer.write(answer or b"")
        await writer.drain()
        return answer not in (DROP, CUT_SHORT, NO_HTTP)

    def _answer_to(self, head: bytes, body: bytes) -> bytes | None:
        return next(self._answers)

    async def _work(self) -> None:
        if self._turn is None:
            await asyncio.sleep(self._delay_s)
            return
        async with self._turn:
            await asyncio.sleep(self._delay_s)


class Remembering(Misbehaving):
    """Refuses whoever it does not know, and answers who comes again with the same bytes."""

    def __init__(self) -> None:
        super().__init__((OK,))
        self.targets: list[bytes] = []
        self._known: set[bytes] = set()

    def _answer_to(self, head: bytes, body: bytes) -> bytes | None:
        self.targets.append(head.split(b" ")[1])
        answer = OK if body in self._known else BUSY
        self._known.add(body)
        return answer


async def _request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head, body = await reader.readuntil(b"\r\n\r\n"), b""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            body = await reader.readexactly(int(line.split(b":")[1]))
    return head, body


@asynccontextmanager
async def serving(behaviour: Misbehaving) -> AsyncIterator[int]:
    """Serve at 127.0.0.1; gives the port."""
    server = await asyncio.start_server(behaviour, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
