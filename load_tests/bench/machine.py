"""What a result was measured on, and how much of the processor went to whom."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from load_tests.bench.processes import family


def describe(root: Path) -> dict[str, object]:
    """Machine, date and commit; no names or paths of this machine."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average_before": os.getloadavg()[0],
        "commit": _git(root, "rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git(root, "status", "--porcelain", "--untracked-files=no")),
    }


def version_in(python: Path, distribution: str) -> str:
    """The version of a distribution in another environment."""
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    return _output([str(python), "-c", code]) or "unknown"


@dataclass(frozen=True, slots=True)
class Usage:
    """Cores used on average during a measurement.

    Attributes:
        server: by the server and all its processes.
        generator: by the load generator; close to 1, it is what was measured.
        others: by everything else on the machine, what the hypervisor took included. A
            measurement with much of it is worth nothing.
        server_mib: resident memory of the server at the end, in MiB.
    """

    server: float
    generator: float
    others: float
    server_mib: float

    def as_dict(self) -> dict[str, float]:
        """For the result file."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


class UsageMeter:
    """Measures from its making on.

    Args:
        server: the server's first process.
    """

    def __init__(self, server: psutil.Process) -> None:
        self._server = server
        self._started = self._seconds()

    def read(self) -> Usage:
        """Usage until now."""
        wall, machine, server, generator = (
            now - then for now, then in zip(self._seconds(), self._started, strict=True)
        )
        mib = 0.0
        for process in family(self._server):
            with suppress(psutil.Error):
                mib += process.memory_info().rss / 2**20
        others = max(0.0, machine - server - generator)
        return Usage(server / wall, generator / wall, others / wall, mib)

    def _seconds(self) -> tuple[float, float, float, float]:
        server = 0.0
        for process in family(self._server):
            with suppress(psutil.Error):
                times = process.cpu_times()
                server += times.user + times.system
        machine = psutil.cpu_times()
        busy = machine.user + machine.nice + machine.system
        busy += machine.irq + machine.softirq + machine.steal
        own = os.times()
        return own.elapsed, busy, server, own.user + own.system


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _git(root: Path, *arguments: str) -> str:
    return _output(["git", "-C", str(root), *arguments])


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return done.stdout.strip() if done.returncode == 0 else ""
