"""One scenario, played while Locust's callers ask, and what came of it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from load_tests.callers import events
from load_tests.callers.events import Event, Outcome
from load_tests.callers.locust_run import Run, start
from load_tests.replicas import passages
from load_tests.replicas.fleet import Setting
from load_tests.replicas.scenarios import Scenario, Stage
from load_tests.replicas.sights import Mark, Sight
from load_tests.replicas.verdict import Figures, figures_of

_FIRST_EVENT_LIMIT_S = 60.0
_SETTLE_LIMIT_S = 150.0
_LONGEST_S = 900.0


class NoLoad(Exception):
    """Locust did not ask, or left films without an outcome; the message ends with what it said."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """Seconds of load before and after a scenario, in which nothing is done."""

    before_s: float = 6.0
    after_s: float = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How the replicas are asked.

    Attributes:
        films: a folder.
        versions: digest → version, of all that may answer.
        rate: films a second.
        callers: kinds that take part, see `callers.kinds`.
        retry_s: how long callers ask again.
    """

    films: Path
    versions: dict[str, str]
    rate: float
    callers: tuple[str, ...]
    retry_s: float
    quiet: Quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of a scenario."""

    figures: Figures
    seconds: float
    marks: list[Mark]
    sights: list[Sight]
    events: list[Event]


def tried(scenario: Scenario, stage: Stage, load: Load, setting: Setting, *, folder: Path) -> Trial:
    """Play a scenario under load, after the replicas were started with its settings.

    Args:
        folder: made, for logs.

    Raises:
        NoLoad: see there.
        NotRunning, NotStarted, subprocess.TimeoutExpired: from HAProxy and the replicas.
    """
    folder.mkdir(parents=True)
    log, began, serving = folder / "haproxy.log", time.monotonic(), stage.version
    run = _run(load, setting, folder)
    stage.fleet.run_with(scenario.settings)
    with stage.fleet.behind_haproxy(scenario.replays, log):
        with _asked(run):
            time.sleep(load.quiet.before_s)
            played = scenario.play(stage)
            time.sleep(load.quiet.after_s)
        marks, sights = list(stage.fleet.marks), list(stage.fleet.sights)
    found = events.read(run.events)
    return Trial(
        figures=figures_of(
            found, passages.read(log), played, versions=load.versions, serving=serving
        ),
        seconds=time.monotonic() - began,
        marks=marks,
        sights=sights,
        events=found,
    )


def answered_rate(load: Load, setting: Setting, *, seconds: float, folder: Path) -> float:
    """Films a second that are answered while Locust asks for `load.rate`, HAProxy running.

    Args:
        seconds: of which the first third is not counted.
        folder: made, for logs.

    Raises:
        NoLoad: see there.
    """
    folder.mkdir(parents=True)
    run = _run(load, setting, folder)
    with _asked(run):
        time.sleep(seconds / 3)
        since = time.time()
        time.sleep(seconds * 2 / 3)
        until = time.time()
    ended = [
        one.at + one.latency_ms / 1e3
        for one in events.read(run.events)
        if one.outcome is Outcome.ANSWERED
    ]
    return sum(since <= one < until for one in ended) / (until - since)


def _run(load: Load, setting: Setting, folder: Path) -> Run:
    return Run(
        films=load.films,
        host=setting.http,
        grpc=setting.grpc,
        rate=load.rate,
        seconds=_LONGEST_S,
        callers=load.callers,
        retry_s=load.retry_s,
        events=folder / "events.jsonl",
        folder=folder,
    )


@contextmanager
def _asked(run: Run) -> Iterator[None]:
    """Locust asks while the context lasts; at its end every film is settled."""
    process = start(run)
    try:
        _wait_for(lambda: run.events.is_file() and run.events.stat().st_size > 0, process, run)
        yield
        if process.poll() is not None:
            raise NoLoad(f"Locust ended before the scenario did:\n{_said(run)}")
        process.send_signal(signal.SIGINT)
        if code := process.wait(_SETTLE_LIMIT_S):
            raise NoLoad(f"Locust ended with {code}:\n{_said(run)}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], run: Run) -> None:
    give_up_at = time.monotonic() + _FIRST_EVENT_LIMIT_S
    while not condition():
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise NoLoad(f"Locust settled no film:\n{_said(run)}")
        time.sleep(0.1)


def _said(run: Run) -> str:
    said = [run.folder / "locust-output.txt", run.folder / "locust.log"]
    return "\n".join(one.read_text("utf-8", "replace")[-3000:] for one in said if one.is_file())
