"""Locust's callers hold every answer against its question, and a run that was not good fails."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from load_tests.callers import events, films
from load_tests.callers.checking import TOLERANCE, NoAnswer, Seen, fault_of, seen_in_json
from load_tests.callers.conduct import Conducted, Wanted, conduct
from load_tests.callers.events import Event, Outcome
from load_tests.callers.films import Expected
from load_tests.callers.images import SYNTAXES, Drawn, drawn
from load_tests.callers.kinds import KINDS
from load_tests.callers.locust_run import PYTHON
from load_tests.callers.patience import Patience
from load_tests.callers.prepare import Unfit, fit, prepare
from load_tests.callers.shape import DAYS, SHAPES, read_shape
from load_tests.callers.thresholds import judge, threshold_of

from tests.acceptance.conftest import ROOT, Server, kill, start_server

installed = pytest.mark.skipif(
    not PYTHON.exists(), reason="not installed: load_tests/peers/environments callers"
)

_SIDE = 512
_EXPECTED = Expected(
    sha256="a" * 64,
    width=10,
    height=8,
    probabilities={"triage": {"normal": 0.2, "pneumonia": 0.7, "tuberculosis": None}},
    digests={"triage": "sha256:1"},
)


# What is asked, and what it is held against.


def test_callers_send_what_hospitals_and_phones_send_and_the_codings_hold_one_film() -> None:
    made = list(drawn(side=_SIDE, phantoms=3))
    syntaxes = {syntax.name for syntax, _ in SYNTAXES}
    assert {one.about.split(", ")[-1] for one in made if one.kind == "dicom"} == syntaxes
    assert {one.kind for one in made} == {"dicom", "phone", "plain"}
    turned = {one.about.rsplit(maxsplit=1)[-1] for one in made if one.kind == "phone"}
    assert turned == {"1", "6", "3"}
    assert not any(b"phantom" in one.data.lower() for one in made)


@pytest.mark.parametrize(
    ("seen", "fault"),
    [
        ({}, ""),
        ({"request": "another"}, "the id of another request"),
        ({"sha256": "b" * 64}, "another sha256"),
        ({"width": 11}, "another width"),
        ({"digests": {"triage": "sha256:2"}}, "another digest"),
        ({"warnings": ("phantom",)}, "another warnings"),
        ({"probabilities": {"triage": {"normal": 0.2}}}, "a probability differs by inf"),
        ({"probabilities": {}}, "another digest"),
        ({"probabilities": {}, "digests": {}}, "other models"),
    ],
)
def test_an_answer_is_its_questions_in_everything_it_says(seen: dict[str, Any], fault: str) -> None:
    right = Seen(
        request="asked",
        sha256="a" * 64,
        width=10,
        height=8,
        digests={"triage": "sha256:1"},
        warnings=(),
        probabilities=_EXPECTED.probabilities,
    )
    assert fault_of(replace(right, **seen), request="asked", expected=_EXPECTED) == fault


@given(st.floats(0, 1, allow_nan=False))
def test_a_protocol_that_tells_of_probabilities_alone_is_held_against_them(seen: float) -> None:
    told = {"triage": {"normal": 0.2, "pneumonia": seen, "tuberculosis": None}}
    fault = fault_of(Seen(request="x", probabilities=told), request="x", expected=_EXPECTED)
    assert (fault == "") == (abs(seen - 0.7) <= TOLERANCE)


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"id": "x"}, {"id": "x", "image": {}, "results": [], "timings_ms": {}}]
)
def test_a_success_that_is_no_answer_is_none(answer: Any) -> None:
    with pytest.raises(NoAnswer):
        seen_in_json(answer)


def test_images_whose_answers_could_be_mixed_up_are_not_sent() -> None:
    def image(name: str, pixels: int | None = None) -> Drawn:
        return Drawn(
            name=name, kind="plain", content_type="", about=name, data=b"", same_pixels=pixels
        )

    alike = replace(_EXPECTED, sha256="b" * 64)
    other = replace(alike, probabilities={"triage": {"normal": 0.9}})
    found = [(image("a"), _EXPECTED), (image("b"), alike), (image("c"), None), (image("d"), other)]
    assert [one.name for one, _ in fit(found)] == ["a", "d"]
    with pytest.raises(Unfit, match="unlike"):
        fit([(image("a", 1), _EXPECTED), (image("b", 1), other)])


# What is asked when.


@pytest.mark.parametrize("file", sorted(SHAPES.glob("*.yaml")), ids=lambda file: str(file.stem))
def test_a_shape_can_be_read_and_says_what_must_hold(file: Path) -> None:
    shape = read_shape(file.stem)
    assert shape.thresholds
    assert shape.level(0) == shape.levels[0][1]
    assert shape.level(shape.seconds) == shape.levels[-1][1]
    assert max(shape.level(shape.seconds * part / 500) for part in range(501)) == max(
        level for _, level in shape.levels
    )


def test_a_spike_is_five_times_the_load() -> None:
    shape = read_shape("spike")
    assert shape.level(0.45 * shape.seconds) == 5 * shape.level(0)


@pytest.mark.parametrize("caller", DAYS)
def test_a_day_changes_when_films_come_and_not_how_many(caller: str) -> None:
    shape = read_shape("day")
    seen = [shape.activity(caller, shape.seconds * part / 2400) for part in range(2400)]
    assert sum(seen) / 2400 == pytest.approx(1, abs=0.01)
    assert max(seen) <= shape.busiest(caller)
    assert min(seen) < 0.5
    assert max(seen) > 2


def test_a_shape_cannot_allow_lost_or_wrong_answers(tmp_path: Path) -> None:
    file = tmp_path / "lax.yaml"
    file.write_text("{about: x, seconds: 1, load: 1, levels: [[0, 1], [1, 1]], allows: [lost]}")
    with pytest.raises(ValueError, match="cannot be allowed"):
        read_shape(str(file))


def test_who_is_told_when_to_come_back_comes_then_and_not_sooner() -> None:
    patience = Patience(total_s=10)
    for chance in (0.0, 0.5, 1.0):
        pause = patience.pause_s(attempt=1, retry_after_s=3, spent_s=0, chance=chance)
        assert pause is not None
        assert 3 <= pause <= 4
    assert patience.pause_s(attempt=1, retry_after_s=3, spent_s=8, chance=0) is None
    assert Patience().pause_s(attempt=1, retry_after_s=None, spent_s=0, chance=0) is None
    assert patience.reason(Outcome.LOST) == "broken"
    assert patience.reason(Outcome.LOST, silent=True) == ""
    assert patience.reason(Outcome.WRONG) == ""


# What must hold.


def _event(**changed: Any) -> Event:
    told: dict[str, Any] = {
        "at": 100.0, "caller": "hospital", "priority": "stat", "protocol": "http",
        "outcome": Outcome.ANSWERED, "status": 200, "latency_ms": 50.0, "lag_ms": 1.0,
        "in_time": True, "belongs": True, "retries": (), "why": "", "request": "id",
        "image": 3, "attempts": (100.0,),
    }  # fmt: skip
    return Event(**told | changed)


def _failed(found: list[Event], *, allows: frozenset[Outcome], **limits: Any) -> list[str]:
    thresholds = [threshold_of({"who": "hospital stat", **limits})] if limits else []
    verdicts = judge(found, thresholds, allows=allows, begin=100, seconds=10)
    return [verdict.what for verdict in verdicts if not verdict.holds]


def test_an_event_is_read_as_it_was_written() -> None:
    event = _event(retries=("refused", "broken"), attempts=(100.0, 101.5))
    assert events.event_of(event.line()) == event
    with pytest.raises(ValueError, match="not an event"):
        events.event_of('{"outcome": "answered"}')


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.ANSWERED])
def test_only_what_a_shape_allows_may_happen_and_lost_and_wrong_never(outcome: Outcome) -> None:
    found = [_event(), _event(outcome=outcome, in_time=False)]
    assert _failed(found, allows=frozenset()) == [str(outcome)]
    never = outcome in (Outcome.LOST, Outcome.WRONG)
    assert _failed(found, allows=frozenset({outcome})) == ([str(outcome)] if never else [])


def test_thresholds_are_of_whom_and_when_they_say() -> None:
    none: frozenset[Outcome] = frozenset()
    late = _event(latency_ms=900.0, in_time=False, at=109.0)
    found = [*(_event() for _ in range(98)), late, late]
    assert _failed(found, allows=none, p99_ms=899) == ["hospital stat p99_ms"]
    assert _failed(found, allows=none, p99_ms=900, p95_ms=50) == []
    assert _failed(found, allows=none, in_time=0.985) == ["hospital stat in_time"]
    assert _failed(found, allows=none, in_time=0.985, within=[0, 0.5]) == []
    assert _failed([replace(late, at=110.5)], allows=none, p99_ms=1) == ["hospital stat p99_ms"]
    # Nobody asked, so nothing is known.
    assert _failed(found, allows=none, p99_ms=900, within=[0.2, 0.3]) == ["hospital stat p99_ms"]
    assert _failed([], allows=none) == ["answered at all"]
    with pytest.raises(ValueError, match="limits of"):
        threshold_of({"who": "all", "p98_ms": 1})


# Runs.


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is asked and no more: a service with all networks takes longer to start."""
    folder = tmp_path_factory.mktemp("models") / "models"
    folder.mkdir()
    for name in ("gate", "triage"):
        (folder / name).symlink_to(ROOT / "models" / name)
    return folder


@pytest.fixture(scope="module")
def service(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(
        tmp_path_factory.mktemp("callers") / "service.log",
        CXRSERVE_MODELS_DIR=str(models_dir),
        CXRSERVE_CACHE_DIR=str(models_dir.parent),
    )
    yield running
    kill(running)


@pytest.fixture(scope="module")
def prepared(service: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("films"), host=service.url, side=_SIDE, phantoms=3)


def _command(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "load_tests.callers", "--out", str(folder), *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _shape(folder: Path, **told: Any) -> str:
    file = folder / "shape.yaml"
    file.write_text(json.dumps({"about": "A test.", "load": 1, "levels": [[0, 1], [1, 1]], **told}))
    return str(file)


@installed
@pytest.mark.server
def test_a_run_that_holds_says_so_and_leaves_its_report(
    service: Server, prepared: Path, tmp_path: Path
) -> None:
    shape = _shape(tmp_path, seconds=4, thresholds=[{"who": "all", "in_time": 0.9}])
    done = _command(
        tmp_path, "--host", service.url, "--grpc", service.grpc, "--films", str(prepared),
        "--shape", shape, "--rate", "12",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok   all in_time" in done.stdout
    found = events.read(tmp_path / "events.jsonl")
    assert {event.caller for event in found} == set(KINDS)
    assert all(event.belongs for event in found)
    told = json.loads((tmp_path / "shape.json").read_text())
    assert told["passed"]
    assert told["figures"]["all"]["films"] == len(found)
    assert told["made"]["command"].startswith("python -m load_tests.callers")
    assert (tmp_path / "shape.png").read_bytes().startswith(b"\x89PNG")
    assert b"hospital routine" in (tmp_path / "report.html").read_bytes()


@installed
@pytest.mark.server
def test_a_service_that_is_asked_too_much_fails_the_run_and_by_which_threshold(
    prepared: Path, models_dir: Path, tmp_path: Path
) -> None:
    limits = {"who": "telemedicine", "p99_ms": 60_000, "in_time": 0.95}
    done = _command(
        tmp_path, "--shape", _shape(tmp_path, seconds=2, allows=["refused"], thresholds=[limits]),
        "--rate", "150", "--callers", "telemedicine", "--films", str(prepared),
        # Few find room, on the fastest machine too.
        CXRSERVE_MODELS_DIR=str(models_dir), CXRSERVE_QUEUE_SIZE="1",
        CXRSERVE_CACHE_DIR=str(models_dir.parent),
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert [line.partition(":")[0] for line in failed] == ["FAIL telemedicine in_time"]


@installed
@pytest.mark.server
async def test_an_answer_to_another_request_is_noticed_even_under_the_right_id(
    service: Server, prepared: Path, tmp_path: Path
) -> None:
    async with _between(service, _Mixing()) as url:
        found = await _conducted(url, prepared, tmp_path)
    reasons = {event.why for event in found.events if event.outcome is Outcome.WRONG}
    assert {"the id of another request", "another sha256"} <= reasons
    assert [verdict.what for verdict in found.verdicts if not verdict.holds] == ["wrong"]


@installed
@pytest.mark.server
async def test_an_answer_that_never_comes_is_lost(
    service: Server, prepared: Path, tmp_path: Path
) -> None:
    async with _between(service, _Dropping()) as url:
        found = await _conducted(url, prepared, tmp_path)
    lost = [event for event in found.events if event.outcome is Outcome.LOST]
    assert {event.caller for event in lost} == {"telemedicine", "back-fill"}
    assert "the answer ended without a line of it" in {event.why for event in lost}
    assert [verdict.what for verdict in found.verdicts if not verdict.holds] == ["lost"]


@installed
@pytest.mark.server
async def test_a_caller_who_asks_again_loses_nothing_and_tells_how_often_he_did(
    service: Server, prepared: Path, tmp_path: Path
) -> None:
    async with _between(service, _Dropping()) as url:
        found = await _conducted(url, prepared, tmp_path, retry_s=20)
    assert found.passed
    again = [event for event in found.events if event.retries]
    assert {event.caller for event in again} == {"telemedicine", "back-fill"}
    assert all(set(event.retries) == {"broken"} for event in again)
    assert all(len(event.attempts) == len(event.retries) + 1 for event in again)


@installed
@pytest.mark.server
async def test_callers_over_http_do_not_wait_for_those_over_grpc(
    service: Server, prepared: Path, tmp_path: Path
) -> None:
    async with _between(service, _Meddling()) as url, _slow_grpc(delay_s=3) as target:
        found = await _conducted(
            url, prepared, tmp_path, grpc_target=target, callers=("telemedicine", "grpc")
        )
    over_grpc = [event for event in found.events if event.protocol == "grpc"]
    assert len(over_grpc) > 12
    # All at once, whose answers come after three seconds and not after those of others.
    assert all(3000 <= event.latency_ms < 5500 for event in over_grpc)
    over_http = [event.latency_ms for event in found.events if event.protocol == "http"]
    assert max(over_http) < 2000


async def _conducted(
    url: str,
    made: Path,
    folder: Path,
    *,
    retry_s: float = 0.0,
    grpc_target: str = "",
    callers: tuple[str, ...] = ("telemedicine", "back-fill"),
) -> Conducted:
    steady = read_shape("steady", seconds=2)
    return await conduct(
        Wanted(
            shape=replace(steady, thresholds=()),
            host=url,
            grpc=grpc_target,
            callers=callers,
            rate=20.0,
            capacity=None,
            films=made,
            real=None,
            side=_SIDE,
            phantoms=3,
            retry_s=retry_s,
            seed=1,
            folder=folder,
        ),
        print,
    )


class _Meddling:
    """Hands requests on to the service, and its answers back; what is between may meddle."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def of(self, answer: httpx.Response) -> bytes | None:
        """The body that the caller gets; None: the connection ends instead."""
        number = next(self._numbers)
        if "ndjson" in answer.headers["content-type"]:
            return self._of_batch(answer.content)
        return self._of_one(answer.content, number)

    def _of_batch(self, body: bytes) -> bytes | None:
        return body

    def _of_one(self, body: bytes, number: int) -> bytes | None:
        return body


class _Mixing(_Meddling):
    """Some get the answer to the question before; every other of these under their own id."""

    _before: dict[str, Any] | None = None

    def _of_one(self, body: bytes, number: int) -> bytes:
        answer, before = json.loads(body), self._before
        self._before = answer
        if number % 4 or before is None or before["image"] == answer["image"]:
            return body
        own_id = number % 8 == 0
        return json.dumps({**before, "id": answer["id"]} if own_id else before).encode()


class _Dropping(_Meddling):
    """Some get no answer; of every batch the first time a line is missing."""

    def _of_batch(self, body: bytes) -> bytes:
        lines = body.splitlines(keepends=True)
        return b"".join(lines[:-1]) if len(lines) > 2 else body

    def _of_one(self, body: bytes, number: int) -> bytes | None:
        return None if number % 4 == 0 else body


@asynccontextmanager
async def _between(service: Server, meddling: _Meddling) -> AsyncIterator[str]:
    """A proxy before the service; gives its address."""
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as onward:

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while await _passed_on(onward, meddling, reader, writer):
                    pass
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _passed_on(
    onward: httpx.AsyncClient,
    meddling: _Meddling,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bool:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    kept = {name: headers[name] for name in ("content-type", "x-request-id")}
    came = await onward.post(first.split(" ")[1], content=body, headers=kept)
    given = meddling.of(came)
    if given is None:
        return False
    head = f"HTTP/1.1 {came.status_code} OK\r\nContent-Length: {len(given)}\r\n\r\n"
    writer.write(head.encode() + given)
    await writer.drain()
    return True


@asynccontextmanager
async def _slow_grpc(*, delay_s: float) -> AsyncIterator[str]:
    """A service that thinks about a call and then refuses it; gives its address."""

    async def predict(_request: bytes, context: Any) -> None:
        await asyncio.sleep(delay_s)
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")

    server = grpc.aio.server()
    handlers = {"Predict": grpc.unary_unary_rpc_method_handler(predict)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("cxrserve.v1.Radiology", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def test_films_are_read_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(b"pixels")
    film = films.Film(
        number=0, file="film.png", kind="plain", content_type="image/png", about="a test",
        expected=_EXPECTED,
    )  # fmt: skip
    assert films.read(films.write(tmp_path, [film])) == [film]
    assert films.read(tmp_path)[0].data == b"pixels"
