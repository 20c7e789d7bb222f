"""Overload, soak and agreement: each counts what it says it counts."""

from __future__ import annotations

import asyncio
import io
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import pytest
from load_tests.bench import load, ours, report
from load_tests.bench.agreement import Figures, latencies_of, simulated
from load_tests.bench.exchange import Request
from load_tests.bench.histogram import Histogram
from load_tests.bench.http_client import HttpConnection
from load_tests.bench.machine import Usage
from load_tests.bench.marked import marked
from load_tests.bench.measures import Fate, Outcome, summarise
from load_tests.bench.memory import Memory, sampled
from load_tests.bench.overload import Crowd, Overload, OverloadPlan
from load_tests.bench.own_times import mean_table
from load_tests.bench.runner import Results
from load_tests.bench.scenario_tables import overload_table, soak_tables
from load_tests.bench.server import Probabilities, Terms
from load_tests.bench.session import Measured
from load_tests.bench.soak import Ended, Marker, Soak
from PIL import Image

from cxrserve.batching.batcher import digest_of
from cxrserve.engines.latency import LatencyTable
from cxrserve.radiograph.limits import Limits
from cxrserve.radiograph.phantom import draw_phantom
from cxrserve.radiograph.reader import read_radiograph
from cxrserve.simulation.device import Hardware
from tests.load_tests.misbehaving import BUSY, Misbehaving, Remembering, serving


@dataclass
class _Subject:
    model: str
    images: tuple[bytes, ...]


class _Asked:
    """As much of a session as a crowd needs, with our way to ask."""

    slo_ms = 400.0

    def __init__(self, port: int) -> None:
        self.subject = _Subject("chest", (_jpeg(0), _jpeg(1)))
        self.client = load.Client(lambda: HttpConnection.open(port), patience_s=5)

    def request(self, image: bytes, terms: Terms) -> Request:
        return ours.ask(self.subject, image, terms)  # type: ignore[arg-type]


def _jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw_phantom(side=256, seed=seed)).save(file, "JPEG")
    return file.getvalue()


async def _overloaded(behaviour: Misbehaving, *, seconds: float, rate: float) -> Overload:
    plan = OverloadPlan(
        seconds=seconds, warm_up_seconds=0, capacity=rate / 2, slo_ms=400, stat_share=0.3
    )
    found = Overload(
        server="ours",
        slo_ms=400,
        seconds=seconds,
        offered_rate=rate,
        capacity=rate / 2,
        peak={100: rate / 2},
    )
    async with serving(behaviour) as port:
        asked = _Asked(port)
        async with sampled(psutil.Process(), every_s=0.2) as found.memory:
            await Crowd(asked, plan, rate, found).come()  # type: ignore[arg-type]
        asked.client.close()
    return found


async def test_who_is_refused_comes_back_once_when_told_with_the_same_bytes() -> None:
    behaviour = Remembering()
    found = await _overloaded(behaviour, seconds=2, rate=20)
    seen = found.as_dict()
    first = [visit for visit in found.visits if not visit.returned]
    back = [visit for visit in found.visits if visit.returned]
    # Only the same bytes are answered: all who came back were known again.
    assert {visit.fate for visit in first} == {Fate.REFUSED}
    assert {visit.fate for visit in back} == {Fate.ANSWERED}
    assert len(first) == len(back) + found.too_late
    assert found.too_late > 0
    assert min(visit.ended_s for visit in back) >= 1.0
    assert seen["returned"]["answered_share"] == 1.0
    assert seen["statuses"] == {"200": len(back), "429": len(first)}
    assert seen["goodput_rate"] == pytest.approx(len(back) / 2, rel=0.1)
    stat = sum(visit.stat for visit in first)
    assert seen["stat"]["arrivals"] == stat
    asked_stat = sum(b"priority=stat" in target for target in behaviour.targets)
    assert asked_stat == sum(visit.stat for visit in found.visits)
    assert 0 < stat < len(first)
    assert all(b"deadline_ms=400" in target for target in behaviour.targets)
    assert any("of the peak goodput" in line for line in overload_table(found))


async def test_who_is_refused_again_is_not_said_to_have_got_in() -> None:
    found = await _overloaded(Misbehaving((BUSY,)), seconds=1.6, rate=20)
    back = found.as_dict()["returned"]
    assert back["clients"] == back["refused_again"] > 0
    assert (back["answered_share"], back["not_refused_share"]) == (0, 0)
    # Once only: nobody comes a third time.
    assert len(found.visits) < 2 * sum(not visit.returned for visit in found.visits)


async def test_the_lateness_of_a_504_counts_from_the_deadline() -> None:
    late = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n"
    found = await _overloaded(Misbehaving((late,), delay_s=0.5), seconds=0.5, rate=20)
    spread = found.as_dict()["after_deadline_ms_of_504"]
    assert spread["count"] == len(found.visits)
    assert 100 <= spread["p50"] < 300


def test_marked_images_are_others_to_the_server_and_the_same_to_the_network() -> None:
    image = _jpeg(3)
    one, other = marked(image, "request 1"), marked(image, "request 2")
    assert digest_of("a", one) != digest_of("a", other)
    assert digest_of("a", one) == digest_of("a", marked(image, "request 1"))
    pixels = [read_radiograph(file, limits=Limits()).pixels for file in (image, one)]
    assert np.array_equal(pixels[0], pixels[1])
    with pytest.raises(ValueError, match="JPEG"):
        marked(b"no image", "request 1")


_KNOWN: list[Probabilities] = [[0.1, 0.9, None], [0.4, 0.9, None]]


def _answer(request_id: str, *probabilities: float | None) -> bytes:
    findings = [{"probability": one} for one in probabilities]
    return json.dumps({"id": request_id, "results": [{"findings": findings}]}).encode()


def test_an_answer_is_held_against_its_own_question() -> None:
    marker = Marker(_KNOWN, tolerance=0.01)
    assert marker.distinguishable == pytest.approx(0.3)
    marker.mark("a", 0, _answer("a", 0.101, 0.9, None))
    wrong = (marker.wrong_id, marker.repeated_id, marker.wrong_answer, marker.unreadable)
    assert wrong == (0, 0, 0, 0)
    assert marker.spread == pytest.approx(0.001)
    marker.mark("b", 0, _answer("b", 0.4, 0.9, None))  # the other image's
    assert marker.wrong_answer == 1
    marker.mark("c", 1, _answer("a", 0.4, 0.9, None))  # another's, and that a second time
    assert (marker.wrong_id, marker.repeated_id) == (1, 1)
    for broken in (b"", b"[]", _answer("d", 0.4)):
        marker.mark("d", 1, broken)
    assert marker.unreadable == 3


def test_images_that_look_alike_to_the_network_are_still_told_apart() -> None:
    marker = Marker([[0.500], [0.506]], tolerance=0.01)
    marker.mark("a", 0, _answer("a", 0.506))
    assert marker.wrong_answer == 1


def test_a_soak_tells_what_was_lost_and_how_it_changed() -> None:
    soaked = Soak(
        server="ours", capacity=10, rate=9, slo_ms=100, seconds=180,
        marker=Marker(_KNOWN, tolerance=0.01), asked=4,
        memory=Memory([(0, 100), (120, 200), (180, 203)]),
    )  # fmt: skip
    soaked.ended = [
        Ended(1, 0.05, Fate.ANSWERED, 200),
        Ended(61, 0.05, Fate.REFUSED, 429),
        Ended(130, 0.10, Fate.ANSWERED, 200),
        Ended(131, 0.01, Fate.DROPPED, 0),
    ]
    seen = soaked.as_dict()
    assert seen["lost"] == 1
    assert seen["statuses"] == {"200": 2, "429": 1, "dropped": 1}
    assert seen["p99_change"] == pytest.approx(1.0)
    assert seen["memory"]["growth_since_settled"] == pytest.approx(0.015)
    assert [minute["requests"] for minute in seen["minutes"]] == [1, 1, 2]
    assert len(soak_tables(soaked)) > 10


async def test_memory_is_sampled_while_it_grows() -> None:
    async with sampled(psutil.Process(), every_s=0.05) as memory:
        await asyncio.sleep(0.2)
        grown = np.ones(8 << 20)  # 64 MiB, touched
        await asyncio.sleep(0.2)
    assert len(memory.samples) >= 5
    assert memory.samples[-1][1] - memory.samples[0][1] > 50
    assert memory.growth() > 0
    assert grown.size


def test_a_servers_own_histogram_is_read_between_two_times() -> None:
    def exposed(within: int, count: int, total: float) -> bytes:
        labels = 'method="POST",route="/v1/predict",status="429"'
        lines = ["# TYPE seconds histogram"]
        lines += [f'seconds_bucket{{le="0.01",{labels}}} {within}']
        lines += [f'seconds_bucket{{le="+Inf",{labels}}} {count}']
        lines += [f"seconds_count{{{labels}}} {count}", f"seconds_sum{{{labels}}} {total}"]
        lines += ['seconds_count{status="200"} 7', ""]
        return "\n".join(lines).encode()

    before, after = (
        Histogram.read(text, "seconds", status="429")
        for text in (exposed(1, 1, 0.001), exposed(4, 5, 0.041))
    )
    since = after - before
    assert since.count == 4
    assert since.mean_ms() == pytest.approx(10)
    assert since.share_within(0.01) == 0.75
    assert Histogram.read(b"", "seconds").mean_ms() is None


def test_a_p99_shows_how_many_answers_are_behind_it() -> None:
    results = Results(offline=[{"a loop": 20.0}], offline_gated=[{"a loop": 16.0}])
    for server, answers in (("ours", 299), ("peer", 300)):
        outcomes = [Outcome(Fate.ANSWERED, 0.1, 1.0)] * answers
        measured = Measured(
            summarise(outcomes, window_s=20, slo_ms=500), Usage(1.0, 0.1, 0.0, 400.0)
        )
        results.add(server, "open", 80, measured)
        results.add(server, "closed", 4, measured)
    page = report.tables(results, gated=frozenset({"ours"}))
    assert "| ours | 100? (299) |" in page
    assert "| peer | 100 (300) |" in page
    # Each against the limit of what it does.
    assert "| ours | 14.9 (100) | 0.75 | 0.93 |" in page
    assert "| peer | 15.0 (100) | 0.75 |  |" in page


def _machine(**other: Any) -> Hardware:
    table = LatencyTable.linear(0.0, 0.040, (1, 2, 4))
    return Hardware(name="one core", table=table, slots=1, independent=True, **other)


def test_a_simulated_request_alone_takes_reading_network_and_what_is_around() -> None:
    story = simulated([0.0, 1.0], slo_s=0.5, machine=_machine(host_s=0.008))
    assert latencies_of(story, around_s=0.002) == pytest.approx([0.05, 0.05])


def test_a_simulated_overload_is_answered_at_the_rate_of_reading_and_network() -> None:
    schedule = [0.01 * number for number in range(1000)]
    story = simulated(schedule, slo_s=0.5, machine=_machine(host_s=0.010))
    latencies = latencies_of(story, around_s=0.0)
    # 20 a second, of 100 that come; who is late gets no answer.
    figures = Figures.of(latencies, seconds=10, slo_ms=500)
    assert figures.goodput_rate == pytest.approx(20, rel=0.06)
    assert max(latencies) <= 0.5


def test_tables_are_meaned_over_a_load() -> None:
    tables = [LatencyTable.linear(0, each, (1, 2)) for each in (0.02, 0.08)]
    assert mean_table(tables).seconds(1) == pytest.approx(0.04)
    assert mean_table(tables).seconds(2) == pytest.approx(0.08)


async def test_a_schedule_waits_for_nobody_and_ends_with_the_last() -> None:
    lags: list[float] = []
    before = time.perf_counter()

    async def act(place: int, due: float, start: float) -> None:
        assert due - start == pytest.approx(0.05 * place)
        lags.append(time.perf_counter() - due)
        await asyncio.sleep(0.3)

    await load.at_times([0.05 * place for place in range(20)], act)
    assert len(lags) == 20
    # What the generator does before it begins is nobody's lag.
    assert 0 <= min(lags) < 0.2
    # One after the other they would take six seconds.
    assert 1.25 <= time.perf_counter() - before < 4
