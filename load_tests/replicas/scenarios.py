"""What is done to the replicas under load, and what it is an excuse for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from load_tests.replicas.fleet import Fleet
from load_tests.replicas.haproxy import Replays
from load_tests.replicas.releases import VERSIONS, add_version, lay_out

_BETWEEN_S = 3.0
_NOT_READY_S = 4.0
_FROZEN_S = 4.0
# HAProxy may use a connection once more before it sees that it has ended.
_SEEN_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Excuse:
    """What was at this replica between two times, in s since 1970, may break."""

    replica: str
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """From one version to another; times in s since 1970.

    Attributes:
        first: from here on the new version may answer.
        last: until here the old one may.
    """

    old: str
    new: str
    first: float
    last: float


@dataclass(slots=True)
class Played:
    """What was done that bears on what may be seen."""

    excuses: list[Excuse] = field(default_factory=list)
    upgrade: Upgrade | None = None


@dataclass(slots=True, kw_only=True)
class Stage:
    """What scenarios play on.

    Attributes:
        version: what all replicas serve now.
        most: to how many replicas, one after the other, each thing is done; None: to all. Upgrades
            are of all in any case.
        releases: folder for folders of models.
        models_dir: where packages are made from.
    """

    fleet: Fleet
    releases: Path
    models_dir: Path
    version: str = VERSIONS[0]
    most: int | None = None

    @property
    def chosen(self) -> list[str]:
        """The names of those to which things are done."""
        return self.fleet.serving[: self.most]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario.

    Attributes:
        about: what happens, for people.
        replays: what HAProxy sends again.
        settings: of the replicas, besides those that all have.
        upgrades: another version answers in the end.
    """

    about: str
    play: Callable[[Stage], Played]
    replays: Replays = Replays.CONNECTIONS
    settings: dict[str, str] = field(default_factory=dict)
    upgrades: bool = False


def _roll(stage: Stage) -> Played:
    for name in stage.chosen:
        stage.fleet.replace(name)
    return Played()


def _kill(stage: Stage) -> Played:
    return _killed(stage, stage.chosen)


def _kill_one(stage: Stage) -> Played:
    return _killed(stage, stage.chosen[:1])


def _killed(stage: Stage, names: Sequence[str]) -> Played:
    excuses = []
    for name in names:
        killed_at = stage.fleet.kill(name)
        excuses.append(Excuse(replica=name, since=killed_at, until=killed_at + _SEEN_S))
        time.sleep(_BETWEEN_S)
    return Played(excuses)


def _flap(stage: Stage) -> Played:
    for name in stage.chosen[:2]:
        stage.fleet.flap(name, _NOT_READY_S)
        time.sleep(_BETWEEN_S)
    return Played()


def _freeze(stage: Stage) -> Played:
    stage.fleet.freeze(stage.fleet.serving[0], _FROZEN_S)
    return Played()


def _upgrade(stage: Stage) -> Played:
    old, new = stage.version, VERSIONS[1]
    release = lay_out(stage.releases / new, (old, new), models_dir=stage.models_dir)
    first = time.time()
    for name in list(stage.fleet.serving):
        stage.fleet.replace(name, models_dir=release)
    stage.version = new
    return Played(upgrade=Upgrade(old=old, new=new, first=first, last=time.time()))


def _load(stage: Stage) -> Played:
    old, new = stage.version, VERSIONS[2]
    first = time.time()
    for folder in {stage.fleet.replicas[name].models_dir for name in stage.fleet.serving}:
        add_version(folder, new, models_dir=stage.models_dir)
    for name in stage.fleet.serving:
        stage.fleet.load(name)
        time.sleep(_BETWEEN_S)
    stage.version = new
    return Played(upgrade=Upgrade(old=old, new=new, first=first, last=time.time() - _BETWEEN_S))


def _sigterm(stage: Stage) -> Played:
    for name in stage.chosen:
        stage.fleet.end_untold(name)
        time.sleep(_BETWEEN_S)
    return Played()


def _sigterm_at_once(stage: Stage) -> Played:
    excuses = []
    for name in stage.chosen[:1]:
        since, until = stage.fleet.end_untold(name)
        excuses.append(Excuse(replica=name, since=since, until=until + _SEEN_S))
        time.sleep(_BETWEEN_S)
    return Played(excuses)


SCENARIOS: dict[str, Scenario] = {
    "roll": Scenario(about="rolling restart of all replicas, as k8s/base has it", play=_roll),
    "kill": Scenario(about="each replica in turn gets SIGKILL, and comes back", play=_kill),
    "kill-replayed": Scenario(
        about="one gets SIGKILL, and HAProxy sends again what broke",
        play=_kill_one,
        replays=Replays.LOST,
    ),
    "flap": Scenario(about="/readyz of one, then of another, is false for a while", play=_flap),
    "freeze": Scenario(about="a replica stands still for 4 s, its connections open", play=_freeze),
    "upgrade": Scenario(
        about="rolling restart onto a new version of the model", play=_upgrade, upgrades=True
    ),
    "load": Scenario(
        about="running replicas load a new version, told over the Open Inference Protocol",
        play=_load,
        upgrades=True,
    ),
    "sigterm": Scenario(
        about="each replica in turn gets SIGTERM, and HAProxy is told nothing", play=_sigterm
    ),
    "sigterm-at-once": Scenario(
        about="one gets it, and does not go on for a while as k8s/base has it",
        play=_sigterm_at_once,
        settings={"CXRSERVE_SHUTDOWN_DELAY_S": "0"},
    ),
}
