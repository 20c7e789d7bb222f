"""What the benchmark must know of a server; `servers.py` lists them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from load_tests.bench.http_client import HttpConnection
from load_tests.bench.load import Connection
from load_tests.bench.subject import Subject

Probabilities = list[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and with what a server runs.

    Attributes:
        cores: how many it may use.
        http_port, grpc_port: free, at 127.0.0.1.
        scratch: a folder of its own, deleted afterwards.
        slo_ms: for those who are configured by it.
    """

    cores: int
    http_port: int
    grpc_port: int
    scratch: Path
    slo_ms: float


async def connect_http(place: Place) -> Connection:
    """One keep-alive connection."""
    return await HttpConnection.open(place.http_port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server.

    Attributes:
        name: what tables call it.
        note: what is particular about its configuration.
        python: interpreter of its environment.
        distribution: the package whose version is quoted.
        arguments: what follows the interpreter.
        environment: variables it needs.
        ready: path that answers 200 once it may be asked.
        ask: the request for an image with a deadline in ms (None: none), built beforehand.
        read: probabilities in the labels' order, from the body of an answer.
        connect: opens a connection.
    """

    name: str
    note: str
    python: Path
    distribution: str
    arguments: Callable[[Place], list[str]]
    environment: Callable[[Place, Subject], dict[str, str]]
    ready: str
    ask: Callable[[Subject, bytes, float | None], bytes]
    read: Callable[[bytes], Probabilities]
    connect: Callable[[Place], Awaitable[Connection]] = field(default=connect_http)
