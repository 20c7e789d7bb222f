"""A whole run: replicas, films, capacity, then one scenario after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from load_tests.callers import films as callers_films
from load_tests.callers.capacity import capacity_of
from load_tests.replicas import films
from load_tests.replicas.fleet import Fleet, Setting, started
from load_tests.replicas.haproxy import Replays
from load_tests.replicas.kubernetes import Replacement
from load_tests.replicas.releases import VERSIONS, lay_out
from load_tests.replicas.scenarios import SCENARIOS, Stage
from load_tests.replicas.trial import Load, Quiet, Trial, answered_rate, tried

_GUESS_S = 5.0
_CAPACITY_S = 18.0
# What is each replica's own, whatever the ConfigMap says.
_OWN = ("CXRSERVE_HTTP_PORT", "CXRSERVE_GRPC_PORT", "CXRSERVE_CACHE_DIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be done.

    Attributes:
        scenarios: of `SCENARIOS`.
        load: share of the measured capacity.
        rate: films a second; None: `load` times the capacity.
        callers: kinds that take part.
        retry_s: how long callers ask again.
        count: replicas that serve.
        first_port: this and those behind it are used.
        side, phantoms: of the films, see `callers.prepare`.
        models_dir: where packages are.
        python: interpreter of the serving environment.
        quiet: load before and after each scenario.
        most: see `scenarios.Stage`.
    """

    scenarios: Sequence[str]
    replacement: Replacement
    models_dir: Path
    python: Path
    callers: tuple[str, ...]
    load: float = 0.7
    rate: float | None = None
    retry_s: float = 20.0
    count: int = 3
    first_port: int = 4300
    side: int = 1024
    phantoms: int = 6
    quiet: Quiet = field(default_factory=Quiet)
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of it.

    Attributes:
        capacity: films a second that are answered when more is asked; None: not measured.
        rate: films a second that were sent.
        resident_mib: of one replica.
        versions: digest → version.
    """

    capacity: float | None
    rate: float
    resident_mib: float
    versions: dict[str, str]
    trials: dict[str, Trial]


def conducted(wanted: Wanted, folder: Path, say: Callable[[str], None]) -> Found:
    """Do it.

    Args:
        folder: empty, for everything that is written; its path is short.

    Raises:
        NotRunning, NotStarted, NoLoad, Alike: what was needed was not to be had.
    """
    releases = folder / "releases"
    setting = Setting(
        count=wanted.count,
        first_port=wanted.first_port,
        models_dir=lay_out(releases / VERSIONS[0], VERSIONS[:1], models_dir=wanted.models_dir),
        folder=folder,
        python=wanted.python,
        replacement=wanted.replacement,
        settings=_settings(wanted.replacement),
    )
    with started(setting, say) as fleet:
        say("films, and what each release answers")
        wanted_versions = VERSIONS if _upgrades(wanted) else VERSIONS[:1]
        drawn, versions = films.drawn(
            folder / "films",
            fleet,
            models_dir=lay_out(releases / "all", wanted_versions, models_dir=wanted.models_dir),
            versions=wanted_versions,
            side=wanted.side,
            phantoms=wanted.phantoms,
        )
        load = Load(
            films=drawn,
            versions=versions,
            rate=wanted.rate or 0.0,
            callers=wanted.callers,
            retry_s=wanted.retry_s,
            quiet=wanted.quiet,
        )
        capacity = None
        if wanted.rate is None:
            say("capacity")
            capacity = _capacity(fleet, setting, load, folder)
            say(f"{capacity:.1f} films/s")
            load = replace(load, rate=wanted.load * capacity)
        resident_mib = fleet.replicas[fleet.serving[0]].resident_mib()
        stage = Stage(
            fleet=fleet, releases=releases, models_dir=wanted.models_dir, most=wanted.most
        )
        trials: dict[str, Trial] = {}
        for name in wanted.scenarios:
            say(f"== {name}: {SCENARIOS[name].about}")
            trials[name] = tried(SCENARIOS[name], stage, load, setting, folder=folder / name)
            say(str(trials[name].figures))
    return Found(
        capacity=capacity,
        rate=load.rate,
        resident_mib=resident_mib,
        versions=versions,
        trials=trials,
    )


def _capacity(fleet: Fleet, setting: Setting, load: Load, folder: Path) -> float:
    """Films a second that are answered when more is asked, with Locust on the same cores."""
    with fleet.behind_haproxy(Replays.CONNECTIONS, folder / "capacity.log"):
        # A cheaper client, and nothing but HTTP: more than Locust leaves room for.
        most = asyncio.run(
            capacity_of(
                setting.http,
                callers_films.read(load.films),
                load.callers,
                seconds=_GUESS_S,
            )
        )
        return answered_rate(
            replace(load, rate=most, retry_s=0.0),
            setting,
            seconds=_CAPACITY_S,
            folder=folder / "capacity",
        )


def _upgrades(wanted: Wanted) -> bool:
    return any(SCENARIOS[name].upgrades for name in wanted.scenarios)


def _settings(replacement: Replacement) -> dict[str, str]:
    kept = {name: value for name, value in replacement.settings.items() if name not in _OWN}
    # Each would have cores of its own; here all of them, HAProxy and Locust share the machine's.
    return kept | {"CXRSERVE_PROCESSORS": "1", "CXRSERVE_REPOSITORY_CONTROL": "on"}
