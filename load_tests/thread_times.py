"""Where a server's processor time goes: milliseconds of a request, by thread, and what idles.

A closed loop against each server in turn, in rounds whose order alternates; the times are the
kernel's own of every thread (`/proc/PID/task`). The profile behind docs/benchmark.md:

    python -m load_tests.thread_times --servers ours-ungated,fastapi
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from load_tests.bench.processes import Cores, Pinning, family
from load_tests.bench.servers import SERVERS
from load_tests.bench.stand import Stand
from load_tests.bench.subject import prepare

_ROOT = Path(__file__).resolve().parents[1]
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_WARM_UP_S = 3.0
_NEVER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Times:
    """Of one round: requests a second, and milliseconds of processor time a request took."""

    rate: float
    loop_ms: float
    threads_ms: float
    generator_ms: float
    idle_ms: float


async def a_round(stand: Stand, name: str, *, clients: int, seconds: float) -> Times:
    """Start a server, load it, and end it again."""
    async with stand.asked(SERVERS[name], slo_ms=_NEVER_MS) as session:
        await session.warm_up(seconds=_WARM_UP_S)
        before, own, began = _of_threads(session.process), time.process_time(), time.monotonic()
        measured = await session.closed(clients=clients, seconds=seconds)
        wall = time.monotonic() - began
        after, generator = _of_threads(session.process), time.process_time() - own
        requests = measured.summary.answered_rate * seconds
        spent = {key: after[key] - before.get(key, 0.0) for key in after}
        # A server's event loop runs on the first thread of its process.
        loop = sum(used for (process, thread), used in spent.items() if process == thread)
        threads = sum(spent.values()) - loop
        idle = max(0.0, stand.cores * wall - loop - threads - generator)
        return Times(
            measured.summary.answered_rate,
            *(1e3 * one / requests for one in (loop, threads, generator, idle)),
        )


def _of_threads(server: psutil.Process) -> dict[tuple[int, int], float]:
    """Seconds of processor time by process and thread."""
    seconds = {}
    for process in family(server):
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            seconds[process.pid, int(task.name)] = ticks / _TICKS_A_SECOND
    return seconds


async def _measured(asked: argparse.Namespace) -> dict[str, list[Times]]:
    names: list[str] = asked.servers.split(",")
    found: dict[str, list[Times]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        subject = prepare(asked.model, models_dir=_ROOT / "models", folder=Path(folder))
        stand = Stand(subject, Pinning.of(Cores.ALL), lambda _: None, tolerance=0.01)
        for number in range(asked.rounds):
            for name in names[:: -1 if number % 2 else 1]:
                times = await a_round(stand, name, clients=asked.clients, seconds=asked.seconds)
                found[name].append(times)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default="ours-ungated,fastapi")
    parser.add_argument("--model", default="nih14-densenet121")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    found = asyncio.run(_measured(asked))
    print("| server | a second | event loop | other threads | generator | idle |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, rounds in found.items():
        cells = (
            median(getattr(one, field) for one in rounds)
            for field in ("rate", "loop_ms", "threads_ms", "generator_ms", "idle_ms")
        )
        print(f"| {name} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
