"""One run from end to end: a service, films, a load, and what came of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen, TimeoutExpired

import psutil

from load_tests.bench.machine import Usage
from load_tests.bench.memory import Memory, sampled
from load_tests.bench.processes import family, free_ports, running
from load_tests.callers import events, films
from load_tests.callers.capacity import capacity_of
from load_tests.callers.events import Event
from load_tests.callers.kinds import KINDS
from load_tests.callers.locust_run import ROOT, Run, start
from load_tests.callers.prepare import prepare
from load_tests.callers.shape import Shape
from load_tests.callers.thresholds import Verdict, judge

Tell = Callable[[str], None]

_START_LIMIT_S = 180.0
_MEMORY_EVERY_S = 5.0
_CAPACITY_S = 15.0
# What Locust may take besides the load: its start, and the wait for what was sent last.
_MORE_S = 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A run as it is wanted.

    Attributes:
        host, grpc: of a service that runs already; empty: one is started.
        rate: films a second at level 1; None: the shape's share of the capacity.
        capacity: films a second that the service can do; None: measured, if it is needed.
        films: a folder that `prepare` made; None: one is made.
        real: real films instead of phantoms.
        side, phantoms: see `prepare`.
        retry_s: see `patience.Patience`.
        folder: for everything that the run leaves behind.
    """

    shape: Shape
    host: str
    grpc: str
    callers: tuple[str, ...]
    rate: float | None
    capacity: float | None
    films: Path | None
    real: Path | None
    side: int
    phantoms: int
    retry_s: float
    seed: int
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Conducted:
    """What came of a run.

    Attributes:
        begin: when the first film was due, in s since 1970.
        capacity: films a second; None: neither given nor measured.
        usage, memory: of a service that was started here.
        verdicts: see `thresholds.judge`.
    """

    events: list[Event]
    begin: float
    rate: float
    capacity: float | None
    usage: Usage | None
    memory: Memory | None
    verdicts: list[Verdict]

    @property
    def passed(self) -> bool:
        """All held."""
        return all(verdict.holds for verdict in self.verdicts)


async def conduct(wanted: Wanted, tell: Tell) -> Conducted:
    """Do it.

    Raises:
        NotStarted: the service did not become ready.
        NotInstalled: Locust is not there.
        Unfit, CxrError, OSError: the films could not be prepared.
    """
    wanted.folder.mkdir(parents=True, exist_ok=True)
    log = wanted.folder / "events.jsonl"
    log.unlink(missing_ok=True)
    async with _service(wanted, tell) as service:
        made = wanted.films
        if made is None:
            tell("drawing films, asking about each once")
            made = await asyncio.to_thread(
                prepare,
                wanted.folder / "films",
                host=service.host,
                side=wanted.side,
                phantoms=wanted.phantoms,
                real=wanted.real,
            )
        rate, capacity = await _rate(wanted, service.host, made, tell)
        tell(f"{wanted.shape.name}: {wanted.shape.seconds:g} s, {rate:.2f} films/s at level 1")
        run = Run(
            films=made,
            host=service.host,
            grpc=service.grpc,
            shape=str(wanted.shape.file),
            seconds=wanted.shape.seconds,
            rate=rate,
            callers=wanted.callers,
            retry_s=wanted.retry_s,
            seed=wanted.seed,
            events=log,
            folder=wanted.folder,
        )
        try:
            status, usage, memory = await _loaded(run, service, wanted)
        finally:
            if wanted.real is not None and wanted.films is None:
                shutil.rmtree(made)  # nobody's films are left lying about
    found = events.read(log) if log.is_file() else []
    begin = found[0].at if found else time.time()
    ended_well = Verdict(
        what="Locust's exit status", limit=0, seen=status, holds=status == 0, films=len(found)
    )
    return Conducted(
        events=found,
        begin=begin,
        rate=rate,
        capacity=capacity,
        usage=usage,
        memory=memory,
        verdicts=[
            ended_well,
            *judge(
                found,
                wanted.shape.thresholds,
                allows=wanted.shape.allows,
                begin=begin,
                seconds=wanted.shape.seconds,
            ),
        ],
    )


@dataclass(frozen=True, slots=True)
class _Service:
    host: str
    grpc: str
    process: psutil.Process | None


@asynccontextmanager
async def _service(wanted: Wanted, tell: Tell) -> AsyncIterator[_Service]:
    """That which runs already, or one that runs while the context lasts."""
    if wanted.host:
        yield _Service(wanted.host, wanted.grpc, None)
        return
    tell("starting the service")
    http, grpc = free_ports(2)
    python = os.environ.get("CXRSERVE_SERVING_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
    environment = {
        **os.environ,
        "CXRSERVE_HOST": "127.0.0.1",
        "CXRSERVE_HTTP_PORT": str(http),
        "CXRSERVE_GRPC_PORT": str(grpc),
    }
    async with running(
        [python, "-m", "cxrserve.cli", "serve"],
        environment=environment,
        folder=ROOT,
        log=wanted.folder / "service.log",
        ready_url=f"http://127.0.0.1:{http}/readyz",
        start_limit_s=_START_LIMIT_S,
    ) as process:
        yield _Service(f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}", process)


async def _rate(wanted: Wanted, host: str, folder: Path, tell: Tell) -> tuple[float, float | None]:
    """Films a second at level 1, and the capacity where it is known."""
    if wanted.rate is not None:
        return wanted.rate, wanted.capacity
    capacity = wanted.capacity
    if capacity is None:
        tell("measuring the capacity")
        capacity = await capacity_of(host, films.read(folder), wanted.callers, seconds=_CAPACITY_S)
    return capacity * wanted.shape.load, capacity


async def _loaded(
    run: Run, service: _Service, wanted: Wanted
) -> tuple[int, Usage | None, Memory | None]:
    """Locust's exit status, and what a service of ours took meanwhile."""
    limit_s = wanted.shape.seconds + wanted.retry_s + _MORE_S
    if service.process is None:
        return await _ended(start(run), limit_s), None, None
    before = _seconds(service.process)
    async with sampled(service.process, every_s=_MEMORY_EVERY_S) as memory:
        status = await _ended(start(run), limit_s)
    wall, machine, server, generator = (
        now - then for now, then in zip(_seconds(service.process), before, strict=True)
    )
    usage = Usage(
        server=server / wall,
        generator=generator / wall,
        others=max(0.0, machine - server - generator) / wall,
        server_mib=memory.samples[-1][1],
    )
    return status, usage, memory


async def _ended(process: Popen[bytes], limit_s: float) -> int:
    """Wait for Locust; one that does not end is ended, and so is one that nobody waits for."""
    try:
        return await asyncio.to_thread(process.wait, limit_s)
    except TimeoutExpired:
        print(f"Locust did not end within {limit_s:.0f} s", file=sys.stderr)
        return -1
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _seconds(server: psutil.Process) -> tuple[float, float, float, float]:
    """Of the clock, and of processors: the machine's, the service's, the load generator's."""
    served = 0.0
    for process in family(server):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        served += times.user + times.system
    cores = psutil.cpu_times()
    busy = cores.user + cores.nice + cores.system + cores.irq + cores.softirq + cores.steal
    own = os.times()
    generator = own.user + own.system + own.children_user + own.children_system
    return own.elapsed, busy, served, generator


def unknown_callers(names: Sequence[str]) -> list[str]:
    """Those that are no kind of caller."""
    return [name for name in names if name not in KINDS]
