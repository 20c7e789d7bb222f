"""What the benchmark must know of a server; `servers.py` lists them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from load_tests.bench.exchange import Connection, Request
from load_tests.bench.grpc_client import GrpcConnection
from load_tests.bench.http_client import HttpConnection
from load_tests.bench.processes import Pinning
from load_tests.bench.subject import Subject

ROOT = Path(__file__).resolve().parents[2]

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


@dataclass(frozen=True, slots=True)
class Terms:
    """How an image is asked about; a peer that knows nothing of one of these leaves it out.

    Attributes:
        deadline_ms: time for the answer; None: none is told.
        priority: stat, urgent or routine; empty: the server's default.
        request_id: comes back with the answer; empty: none is sent.
    """

    deadline_ms: float | None = None
    priority: str = ""
    request_id: str = ""


Ask = Callable[[Subject, bytes, Terms], Request]


async def connect_http(place: Place) -> Connection:
    """One keep-alive connection."""
    return await HttpConnection.open(place.http_port)


async def connect_grpc(place: Place) -> Connection:
    """One channel with a connection of its own."""
    return await GrpcConnection.open(place.grpc_port)


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
        ask: the request for an image, built beforehand.
        read: probabilities in the labels' order, from the body of an answer.
        connect: opens a connection.
        prepare: done once a run, before it is started the first time; says what came of it.
        tells: it is ours and speaks HTTP: it knows terms, and says what it did with a request.
        gated: it runs the quality gate besides the network.
    """

    name: str
    note: str
    python: Path
    distribution: str
    arguments: Callable[[Place], list[str]]
    environment: Callable[[Place, Subject], dict[str, str]]
    ready: str
    ask: Ask
    read: Callable[[bytes], Probabilities]
    connect: Callable[[Place], Awaitable[Connection]] = field(default=connect_http)
    prepare: Callable[[Subject, Pinning], Awaitable[str]] | None = None
    tells: bool = False
    gated: bool = False
