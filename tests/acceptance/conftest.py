"""The real service, started from the serving environment as `make serve` starts it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Server:
    """A running service."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    grpc: str = ""

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)

    def resident_mib(self) -> float:
        """Resident memory of the service's processes together; shared pages count once each."""
        parent = psutil.Process(self.process.pid)
        family = [parent, *parent.children(recursive=True)]
        return sum(member.memory_info().rss for member in family) / 2**20

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def start_server(
    log: Path,
    *,
    command: list[str] | None = None,
    cwd: Path = ROOT,
    wait_s: float = 90,
    port: int | None = None,
    **environment: str,
) -> Server:
    """Start the service and wait until it is ready; fail with its log if it does not become so."""
    serving = os.environ.get("CXRSERVE_SERVING_PYTHON", sys.executable)
    port, grpc_port = port or _free_port(), _free_port()
    if command is None:
        command = [serving, "-m", "cxrserve.cli", "serve"]
    else:
        command = [*command, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={
                **os.environ,
                "CXRSERVE_HOST": "127.0.0.1",
                "CXRSERVE_HTTP_PORT": str(port),
                "CXRSERVE_GRPC_PORT": str(grpc_port),
                "CXRSERVE_CACHE_DIR": _cache_dir(),
                **environment,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", process, log, f"127.0.0.1:{grpc_port}")
    give_up_at = time.monotonic() + wait_s
    probes: dict[str, int | None] = {"livez": None, "readyz": None}
    while time.monotonic() < give_up_at and process.poll() is None:
        for probe in probes:
            try:
                probes[probe] = httpx.get(f"{server.url}/{probe}", timeout=5).status_code
            except httpx.TransportError:
                probes[probe] = None
        if probes["readyz"] == 200:
            return server
        time.sleep(0.1)
    kill(server)
    seen = ", ".join(f"{probe} {status}" for probe, status in probes.items())
    pytest.fail(f"not ready: {seen}\n{log.read_text(errors='replace')[-4000:]}")


@functools.cache
def _cache_dir() -> str:
    """One folder of latency tables for all servers of a run: only the first measures."""
    folder = tempfile.mkdtemp(prefix="cxrserve-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def kill(server: Server) -> None:
    """End whatever is left of a server: its supervisor starts workers in sessions of their own."""
    try:
        parent = psutil.Process(server.process.pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for member in reversed(family):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    server.process.wait(10)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("server") / "service.log")
    yield running
    try:
        running.stop()
    finally:
        kill(running)


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as opened:
        yield opened


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
