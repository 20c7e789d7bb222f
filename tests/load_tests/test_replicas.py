"""Replicas behind HAProxy: nothing is lost, and what would be lost is seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from load_tests.callers import locust_run
from load_tests.callers.events import Event, Outcome
from load_tests.peers.debian import program
from load_tests.replicas.conduct import Found, Wanted, conducted
from load_tests.replicas.haproxy import NOT_HERE, Place, Replays, configured
from load_tests.replicas.kept import table, write
from load_tests.replicas.kubernetes import replacement
from load_tests.replicas.passages import Passage, read
from load_tests.replicas.releases import MODEL
from load_tests.replicas.scenarios import Excuse, Played, Upgrade
from load_tests.replicas.trial import Quiet
from load_tests.replicas.verdict import figures_of

_ROOT = Path(__file__).resolve().parents[2]
_VERSIONS = {"sha256:1": "1.0.0", "sha256:2": "1.1.0"}


def _event(at: float = 100.0, **changed: object) -> Event:
    """A film that was answered at once."""
    told: dict[str, object] = {
        "at": at,
        "caller": "hospital",
        "priority": "routine",
        "protocol": "http",
        "outcome": Outcome.ANSWERED,
        "status": 200,
        "latency_ms": 20.0,
        "lag_ms": 0.0,
        "in_time": True,
        "belongs": True,
        "retries": (),
        "why": "",
        "request": "one",
        "image": 0,
        "attempts": (at,),
        "digests": {MODEL: "sha256:1"},
    }
    return Event(**told | changed)  # type: ignore[arg-type]


def _sent_again(at: float) -> Event:
    """A film whose first attempt, at that time, broke."""
    return _event(at, retries=("broken",), attempts=(at, at + 0.3), latency_ms=320.0)


def _faults(
    *events: Event, passages: tuple[Passage, ...] = (), played: Played | None = None
) -> list[str]:
    figures = figures_of(events, passages, played or Played(), versions=_VERSIONS, serving="1.0.0")
    return figures.faults


def test_films_that_were_all_answered_are_no_fault() -> None:
    assert _faults(_event(), _event(101.0)) == []


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.ANSWERED])
def test_a_film_without_an_answer_of_its_own_is_a_fault(outcome: Outcome) -> None:
    assert len(_faults(_event(), _event(outcome=outcome, why="so"))) == 1


def test_a_film_may_be_sent_again_only_if_its_replica_was_killed_meanwhile() -> None:
    killed = Played([Excuse(replica="r0", since=100.1, until=100.3)])
    assert _faults(_sent_again(100.0), played=killed) == []
    assert _faults(_sent_again(103.0), played=killed) != []
    assert _faults(_sent_again(100.0)) != []


def test_what_broke_at_another_replica_than_the_killed_one_is_a_fault() -> None:
    killed = Played([Excuse(replica="r0", since=100.1, until=100.3)])

    def broken_at(replica: str) -> Passage:
        return Passage(
            at=100.2,
            request="one",
            protocol="http",
            replica=replica,
            status=502,
            ended="SH",
            sent_again=0,
        )

    assert _faults(_event(), passages=(broken_at("r0"),), played=killed) == []
    assert _faults(_event(), passages=(broken_at("r1"),), played=killed) != []


def test_a_version_answers_only_while_somebody_serves_it() -> None:
    upgrade = Played(upgrade=Upgrade(old="1.0.0", new="1.1.0", first=100.0, last=200.0))
    new = {MODEL: "sha256:2"}
    assert _faults(_event(150.0), _event(150.0, digests=new), played=upgrade) == []
    assert _faults(_event(90.0, digests=new), played=upgrade) != []
    assert _faults(_event(210.0), played=upgrade) != []
    assert _faults(_event(digests=new)) != []
    assert _faults(_event(digests={})) != []


def test_passages_are_read_among_haproxys_own_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "[WARNING] (1) : Server http/r0 is DOWN\n"
        '{"at": 1500, "request": "one", "protocol": "http", "replica": "r0", "status": 502, '
        '"ended": "SH", "sent_again": "+2"}\n'
    )
    (one,) = read(log)
    assert (one.at, one.sent_again, one.broke) == (1.5, 2, True)


@pytest.fixture
def haproxy() -> str:
    """Debian's program; tests are skipped without it."""
    found = program("haproxy")
    if found is None:
        pytest.skip(NOT_HERE)
    return found


@pytest.mark.parametrize("replays", Replays)
def test_haproxy_takes_its_configuration_without_a_warning(
    haproxy: str, tmp_path: Path, replays: Replays
) -> None:
    file = tmp_path / "haproxy.cfg"
    places = [Place("r0", 4398, 4399)]
    file.write_text(configured(places, 4396, 4397, replays=replays, admin=tmp_path / "admin"))
    checked = subprocess.run(
        [haproxy, "-c", "-V", "-f", str(file)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0
    assert "WARNING" not in checked.stderr


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """HAProxy's socket wants a short path, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="replicas-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.server
@pytest.mark.usefixtures("haproxy")
def test_neither_a_kill_nor_a_rolling_restart_loses_a_film(
    short_folder: Path, tmp_path: Path
) -> None:
    if not locust_run.PYTHON.is_file():
        pytest.skip("no Locust here; `load_tests/peers/environments callers` installs it")
    steps = replacement()
    soon = steps.settings | {"CXRSERVE_SHUTDOWN_DELAY_S": "1"}
    wanted = Wanted(
        scenarios=("kill", "roll"),
        replacement=replace(steps, min_ready_s=1, pre_stop_s=1, settings=soon),
        models_dir=_ROOT / "models",
        python=Path(os.environ.get("CXRSERVE_SERVING_PYTHON", sys.executable)),
        callers=("hospital", "telemedicine", "back-fill", "grpc", "oip"),
        rate=12.0,
        count=2,
        side=512,
        phantoms=3,
        quiet=Quiet(2.0, 2.0),
        most=1,
    )
    said: list[str] = []
    found: Found = conducted(wanted, short_folder, said.append)
    for name, trial in found.trials.items():
        figures = trial.figures
        assert figures.faults == [], (name, figures, said)
        assert figures.outcomes == {"answered": figures.sent}
        assert {one.protocol for one in trial.events} == {"http", "grpc", "oip"}
        # Whoever came anew was asked.
        assert set(figures.served) == ({"r0", "r1", "r2"} if name == "roll" else {"r0", "r1"})
    assert write(found, wanted, {"date": ""}, tmp_path).is_file()
    assert (tmp_path / "kill.png").stat().st_size > 10_000
    assert (tmp_path / "roll.png").stat().st_size > 10_000
    assert len(table(found)) == 4
