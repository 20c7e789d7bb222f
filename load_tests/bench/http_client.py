"""HTTP/1.1 for a load generator: keep-alive, requests built beforehand, little CPU.

A general client spends more on a request than some servers under test do on answering it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from load_tests.bench.exchange import BadResponse, Request, Response

_HEADERS_END = b"\r\n\r\n"
_LARGEST_HEADERS = 64 * 1024


def request_bytes(
    method: str, target: str, body: bytes = b"", *, content_type: str = "", **headers: str
) -> bytes:
    """A whole request; `headers` are written with `-` for `_`."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1"]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


class HttpConnection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._ended = False
        self._answer: asyncio.Future[Response] | None = None
        self.surplus = 0
        """Bytes that came although nothing was asked, or behind a whole answer."""

    @classmethod
    async def open(cls, port: int) -> HttpConnection:
        """Connect to 127.0.0.1.

        Raises:
            OSError: nobody listens.
        """
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    @property
    def is_open(self) -> bool:
        """Another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: Request) -> Response:
        """Send a whole request and wait for its response.

        Raises:
            ConnectionError: the connection ended before the response did.
            BadResponse: see there; the connection is closed.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the server has closed this connection")
        assert self._answer is None, "one request at a time"
        self._answer = asyncio.get_running_loop().create_future()
        self._received.clear()
        self._transport.write(request.data)
        try:
            response = await self._answer
        except BaseException:
            # Also when the caller gave up: what still comes must not answer the next request.
            self.close()
            raise
        finally:
            self._answer = None
        if response.headers.get("connection", "").lower() == "close":
            self.close()
        return response

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._waits():
            self._received += data
            self._settle()
        elif self._answer is None or not self._answer.cancelled():
            self._count_surplus(data)

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        self._ended = True
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._waits():
            assert self._answer is not None
            self._answer.set_exception(ConnectionResetError("the server ended the connection"))

    def _settle(self) -> None:
        if not self._waits():
            return
        assert self._answer is not None
        try:
            response = parse(self._received, ended=self._ended)
        except BadResponse as error:
            self._answer.set_exception(error)
            return
        if response is not None:
            self._count_surplus(self._received[response.size :])
            self._answer.set_result(response)

    def _count_surplus(self, data: bytes | bytearray) -> None:
        # The blank line behind a last chunk may come late.
        if data.strip(b"\r\n"):
            self.surplus += len(data)
            self.close()

    def _waits(self) -> bool:
        return self._answer is not None and not self._answer.done()


def parse(received: bytes | bytearray, *, ended: bool = False) -> Response | None:
    """The response that `received` begins with; None while it is not whole.

    Args:
        received: everything since the request was sent.
        ended: the server will send no more, which ends a body without a length.

    Raises:
        BadResponse: it is no HTTP/1.1 response.
    """
    end = received.find(_HEADERS_END)
    if end < 0:
        if len(received) > _LARGEST_HEADERS:
            raise BadResponse(f"no end of the headers in {len(received)} bytes")
        return None
    status, headers = _head(bytes(received[:end]))
    start = end + len(_HEADERS_END)
    if status < 200:
        final = parse(received[start:], ended=ended)
        return final and replace(final, size=start + final.size)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        found = _dechunked(received, start)
        return found and Response(status, headers, *found)
    if "content-length" in headers:
        size = start + _number(headers["content-length"], 10)
        whole = len(received) >= size
    elif status in (204, 304):
        size, whole = start, True
    else:
        size, whole = len(received), ended
    return Response(status, headers, bytes(received[start:size]), size) if whole else None


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise BadResponse(f"not a status line: {first[:80]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers


def _dechunked(received: bytes | bytearray, start: int) -> tuple[bytes, int] | None:
    """The body, and the offset behind its last chunk."""
    body = bytearray()
    while (line_end := received.find(b"\r\n", start)) >= 0:
        size = _number(bytes(received[start:line_end]).split(b";")[0].decode("latin-1"), 16)
        start = line_end + 2
        if len(received) < start + size + 2:
            return None
        if size == 0:
            return bytes(body), start + 2
        body += received[start : start + size]
        start += size + 2
    return None


def _number(text: str, base: int) -> int:
    try:
        number = int(text.strip(), base)
    except ValueError:
        raise BadResponse(f"not a length: {text[:80]!r}") from None
    if number < 0:
        raise BadResponse(f"a negative length: {text[:80]!r}")
    return number
