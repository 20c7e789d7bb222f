"""HAProxy before the replicas, and what it is told while it runs."""

from __future__ import annotations

import csv
import io
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from string import Template

from load_tests.peers.debian import not_here, program

NOT_HERE = not_here("haproxy")
_TEMPLATE = Path(__file__).with_name("haproxy.cfg")
# Films of a few megapixels as JPEG fit; what does not is never replayed.
_BUFFER_BYTES = 1 << 20
_START_LIMIT_S = 10.0
_STOP_LIMIT_S = 10.0
_SOCKET_LIMIT_S = 5.0
_BACKENDS = ("http", "grpc")
_AS_HTTP = "proto h2 track http/"


class Replays(StrEnum):
    """What HAProxy sends again, to another replica.

    `CONNECTIONS`: what no replica took: nobody listened, or it said 503. Always safe.
    `LOST`: also what was sent and never answered because the connection ended. Readings change
    nothing, so that is safe too, but for a request that itself ends the process which reads it.
    """

    CONNECTIONS = "connections"
    LOST = "lost"


_RETRY_ON = {
    Replays.CONNECTIONS: "conn-failure 503",
    Replays.LOST: "conn-failure empty-response 503",
}


class NotRunning(Exception):
    """HAProxy did not start, or refused a command; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica listens at 127.0.0.1, and what HAProxy calls it."""

    name: str
    http_port: int
    grpc_port: int


class HAProxy:
    """A running HAProxy.

    Args:
        process: the program.
        admin: its runtime API's socket.
        check_ports: of each replica, by its name.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], admin: Path, check_ports: dict[str, int]
    ) -> None:
        self.process = process
        self._admin, self._check_ports = admin, check_ports

    def add(self, name: str) -> None:
        """The replica is an endpoint: requests may come to it."""
        self._set(name, "state ready")

    def remove(self, name: str) -> None:
        """It is an endpoint no more: no new request goes there, those in flight are awaited."""
        self._set(name, "state drain")

    def forget(self, name: str) -> None:
        """It is gone; its health is not asked."""
        self._set(name, "state maint")

    def check_at(self, name: str, port: int | None) -> None:
        """Ask at another port for its readiness; None: at its own."""
        self._tell(f"set server http/{name} check-port {port or self._check_ports[name]}")

    def in_flight(self, name: str) -> int:
        """Requests that are at a replica."""
        return sum(int(row["scur"]) for row in self._servers() if row["svname"] == name)

    def states(self) -> dict[str, str]:
        """Replica → what HAProxy thinks of it: UP, DOWN, DRAIN, MAINT, and what is in between."""
        return {row["svname"]: row["status"] for row in self._servers() if row["pxname"] == "http"}

    def _servers(self) -> list[dict[str, str]]:
        rows = csv.DictReader(io.StringIO(self._tell("show stat").lstrip("# ")))
        return [row for row in rows if row["svname"] in self._check_ports]

    def _set(self, name: str, what: str) -> None:
        for backend in _BACKENDS:
            self._tell(f"set server {backend}/{name} {what}")

    def _tell(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SOCKET_LIMIT_S)
            connection.connect(str(self._admin))
            connection.sendall(f"{command}\n".encode())
            said = b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()
        if command.startswith("set ") and said.strip() and "updated" not in said:
            raise NotRunning(f"`{command}`: {said.strip()}")
        return said


@contextmanager
def running(
    places: Sequence[Place],
    *,
    http_port: int,
    grpc_port: int,
    replays: Replays,
    log: Path,
    folder: Path,
) -> Iterator[HAProxy]:
    """HAProxy before these replicas, none of which is an endpoint yet.

    Args:
        http_port, grpc_port: where it listens at 127.0.0.1.
        log: a file for a JSON line a request, see `passages.py`, and for what else it says.
        folder: for its configuration and its socket; its path is short.

    Raises:
        NotRunning: it is not here, or did not start.
    """
    binary = program("haproxy")
    if binary is None:
        raise NotRunning(NOT_HERE)
    configuration, admin = folder / "haproxy.cfg", folder / "admin"
    configuration.write_text(
        configured(places, http_port, grpc_port, replays=replays, admin=admin), "utf-8"
    )
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - Debian's program
            [binary, "-db", "-f", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(http_port, process, log)
        yield HAProxy(process, admin, {place.name: place.http_port for place in places})
    finally:
        process.terminate()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def configured(
    places: Sequence[Place], http_port: int, grpc_port: int, *, replays: Replays, admin: Path
) -> str:
    """The text of the configuration."""
    return Template(_TEMPLATE.read_text("utf-8")).substitute(
        socket=admin,
        buffer_bytes=_BUFFER_BYTES,
        retry_on=_RETRY_ON[replays],
        http_port=http_port,
        grpc_port=grpc_port,
        http_servers="\n".join(
            f"    server {one.name} 127.0.0.1:{one.http_port} check disabled" for one in places
        ),
        grpc_servers="\n".join(
            f"    server {one.name} 127.0.0.1:{one.grpc_port} disabled {_AS_HTTP}{one.name}"
            for one in places
        ),
    )


def version() -> str:
    """What HAProxy says it is; empty if it is not here."""
    binary = program("haproxy")
    if binary is None:
        return ""
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True)  # noqa: S603
    return said.stdout.splitlines()[0]


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + _START_LIMIT_S
    while process.poll() is None and time.monotonic() < give_up_at:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise NotRunning(f"HAProxy did not start:\n{log.read_text('utf-8', 'replace')[-4000:]}")
