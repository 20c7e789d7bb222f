"""What goes to a server and what comes back, whatever the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """A request, built beforehand.

    Attributes:
        data: what is written to the connection (HTTP), or the serialized message (gRPC).
        timeout_s: deadline that the protocol itself carries (gRPC); None: none, or in `data`.
    """

    data: bytes
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A response.

    Attributes:
        status: of HTTP, or the one that stands for a gRPC code (google/rpc/code.proto names it).
        headers: names in lower case.
        size: bytes that it took, head included; 0 where the protocol does not tell.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    size: int = 0


class BadResponse(Exception):
    """What came back is nothing that this protocol allows."""


class Connection(Protocol):
    """A connection to a server: one request at a time."""

    @property
    def is_open(self) -> bool:
        """Another request may be sent."""

    @property
    def surplus(self) -> int:
        """Bytes that came although nothing was asked, or behind a whole answer."""

    async def ask(self, request: Request) -> Response:
        """Send a request, wait for its response; `ConnectionError` if there is none."""

    def close(self) -> None:
        """End the connection at once."""
