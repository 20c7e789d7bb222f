"""Servers as subprocesses: started, pinned, waited for, and ended with everything they started."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

# What a program needs to find others, and nothing else that may be set here.
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
_GRACE_S = 10.0
_LOG_LINES = 60


class Cores(StrEnum):
    """Where a server and the load generator run."""

    ONE = "one"  # the server on one core, the load generator on another
    ALL = "all"  # both wherever the kernel puts them


@dataclass(frozen=True, slots=True)
class Pinning:
    """The cores of each, as the kernel numbers them; empty: not pinned."""

    server: frozenset[int]
    generator: frozenset[int]
    server_cores: int

    @classmethod
    def of(cls, cores: Cores) -> Pinning:
        """The first core and the second of those that this process may use, or all.

        Raises:
            ValueError: `one` needs two.
        """
        allowed = sorted(os.sched_getaffinity(0))
        if cores is Cores.ALL:
            return cls(frozenset(), frozenset(), len(allowed))
        if len(allowed) < 2:
            raise ValueError(f"--cores one needs two cores; this process may use {allowed}")
        return cls(frozenset(allowed[:1]), frozenset(allowed[1:2]), 1)

    def command(self, command: Sequence[str]) -> list[str]:
        """A server's command line, so that it and all its children run on its cores."""
        if not self.server:
            return list(command)
        taskset = shutil.which("taskset")
        if taskset is None:
            raise ValueError("--cores one needs taskset (util-linux)")
        return [taskset, "--cpu-list", ",".join(map(str, sorted(self.server))), *command]

    @contextmanager
    def here(self) -> Iterator[None]:
        """Keep this process, the load generator, on its cores."""
        before = os.sched_getaffinity(0)
        if self.generator:
            os.sched_setaffinity(0, self.generator)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


class NotStarted(Exception):
    """A server ended, or did not become ready; the message ends with its log."""


def free_ports(count: int) -> tuple[int, ...]:
    """Ports at 127.0.0.1 that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(probe.getsockname()[1] for probe in probes)
    finally:
        for probe in probes:
            probe.close()


@asynccontextmanager
async def running(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    ready_url: str,
    start_limit_s: float,
) -> AsyncIterator[psutil.Process]:
    """Run a server while the context lasts.

    Args:
        command: its command line.
        environment: its whole environment.
        folder: its working directory.
        log: file for what it prints.
        ready_url: answers 200 once it may be asked.
        start_limit_s: time it has for that.

    Raises:
        NotStarted: see there.
    """
    process = _start(command, environment, folder, log)
    try:
        # In a thread, so that a signal to the benchmark is heard meanwhile.
        await asyncio.to_thread(_wait_until_ready, process, ready_url, start_limit_s, log)
        yield psutil.Process(process.pid)
    finally:
        _end(process)


async def output_of(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None
) -> bytes:
    """What a program prints; it ends with this task.

    Args:
        command: its command line; what it prints as errors is shown.
        folder: its working directory.
        environment: its whole environment; None: that of this process.

    Raises:
        NotStarted: it failed.
    """
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        printed, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        name = " ".join(Path(word).name for word in command[:6])
        raise NotStarted(f"`{name} …` ended with {process.returncode}; see above")
    return printed


def family(root: psutil.Process) -> list[psutil.Process]:
    """A process and all that came of it, those that outlived their parents included."""
    found = {root.pid: root}
    with suppress(psutil.NoSuchProcess):
        found |= {child.pid: child for child in root.children(recursive=True)}
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == root.pid:
                found[process.pid] = process
    return list(found.values())


def _start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - the registry's commands
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A session of its own: its number marks every process that comes of it.
            start_new_session=True,
        )


def _wait_until_ready(
    process: subprocess.Popen[bytes], url: str, limit_s: float, log: Path
) -> None:
    give_up_at = time.monotonic() + limit_s
    while process.poll() is None:
        with (
            suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(url, timeout=5) as answer,  # noqa: S310 - loopback
        ):
            if answer.status == 200:
                return
        if time.monotonic() > give_up_at:
            raise NotStarted(f"not ready after {limit_s:.0f} s:\n{_tail(log)}")
        time.sleep(0.1)
    raise NotStarted(f"ended with {process.returncode} before it was ready:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:])


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the server, then SIGKILL to whatever of it is left."""
    members = family(psutil.Process(process.pid)) if process.poll() is None else []
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    left = {one.pid: one for one in members if one.is_running()}
    for one in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(one.pid) == process.pid:
                left[one.pid] = one
    for one in left.values():
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(left.values(), timeout=_GRACE_S)
