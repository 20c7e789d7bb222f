"""Locust as a program of its own, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from load_tests.callers.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "load_tests" / "peers" / ".envs" / "callers" / "bin" / "python"
LOCUSTFILE = Path(__file__).with_name("locustfile.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What Locust is to do; see the package's docstring.

    Attributes:
        films: a folder that `prepare` made.
        host, grpc: addresses of the service; several separated by commas.
        shape: a name of `shapes/`, or a YAML file.
        rate: films a second at the shape's level 1, of all callers together.
        seconds: instead of the shape's own.
        callers: kinds that take part, of `kinds.KINDS`.
        retry_s: how long what was refused or broke off is asked again; 0: never.
        events: the event log, see `events.py`; what it holds is kept, and written behind.
        folder: for report.html, Locust's CSV files and its log.
    """

    films: Path
    host: str
    grpc: str
    rate: float
    events: Path
    folder: Path
    shape: str = "steady"
    seconds: float | None = None
    callers: tuple[str, ...] = tuple(KINDS)
    retry_s: float = 0.0
    seed: int = 0

    def command(self) -> list[str]:
        """The command line."""
        options = {
            "--host": self.host,
            "--grpc": self.grpc,
            "--films": str(self.films),
            "--shape": self.shape,
            "--seconds": self.seconds,
            "--rate": self.rate,
            "--callers": ",".join(self.callers),
            "--retry-s": self.retry_s,
            "--events": str(self.events),
            "--seed": self.seed,
            "--html": str(self.folder / "report.html"),
            "--csv": str(self.folder / "locust"),
            "--logfile": str(self.folder / "locust.log"),
        }
        given = [f"{name}={value}" for name, value in options.items() if value not in (None, "")]
        return [str(PYTHON), "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary",
                *given]  # fmt: skip


class NotInstalled(Exception):
    """Locust's environment is not there."""


def start(run: Run) -> subprocess.Popen[bytes]:
    """Start Locust; what it prints goes to `locust-output.txt` in the run's folder.

    Raises:
        NotInstalled: see there.
    """
    if not PYTHON.is_file():
        raise NotInstalled("Locust is not installed; run load_tests/peers/environments callers")
    run.folder.mkdir(parents=True, exist_ok=True)
    path = [str(ROOT), str(ROOT / "src")]
    with (run.folder / "locust-output.txt").open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - ours
            run.command(),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "GRPC_VERBOSITY": "NONE"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
