"""The benchmark counts what happened, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import statistics
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from load_tests.bench import load
from load_tests.bench.arrivals import poisson
from load_tests.bench.exchange import Request
from load_tests.bench.http_client import HttpConnection, parse, request_bytes
from load_tests.bench.measures import Fate, Outcome, median_of, percentile, summarise
from load_tests.bench.processes import Cores, NotStarted, Pinning, free_ports, running
from load_tests.bench.runner import alternating

from tests.load_tests.misbehaving import (
    BROKEN,
    BUSY,
    CUT_SHORT,
    DROP,
    NEVER,
    NO_HTTP,
    OK,
    Misbehaving,
    serving,
)

_ASK = Request(request_bytes("POST", "/predict", b"film", content_type="image/jpeg"))


def _client(port: int, *, patience_s: float = 5.0) -> load.Client:
    return load.Client(lambda: HttpConnection.open(port), patience_s=patience_s)


def _answered(*latencies_ms: float) -> list[Outcome]:
    return [Outcome(Fate.ANSWERED, latency / 1e3, 1.0) for latency in latencies_ms]


def test_percentiles_are_values_that_somebody_waited() -> None:
    values = [float(value) for value in range(1, 1101)]
    assert percentile(values, 50) == 550
    assert percentile(values, 99) == 1089
    assert percentile(values, 100) == 1100
    assert percentile([7.0], 1) == 7
    assert percentile([], 99) is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_not_exceeded_by_its_share_and_no_smaller_one_is(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)


def test_only_answers_within_the_slo_are_goodput() -> None:
    outcomes = _answered(10, 100, 100.1, 900)
    outcomes += [Outcome(fate, 0.001, 1.0) for fate in Fate if fate is not Fate.ANSWERED]
    summary = summarise(outcomes, window_s=2, slo_ms=100)
    assert summary.requests == 8
    assert summary.offered_rate == 4
    assert summary.answered_rate == 2
    assert summary.goodput_rate == 1
    assert summary.goodput_share == 0.25
    assert (summary.refused, summary.failed, summary.dropped, summary.given_up) == (1, 1, 1, 1)
    assert summary.max_ms == pytest.approx(900)
    assert summary.refusal_p99_ms == pytest.approx(1)


def test_the_median_of_rounds_forgives_one_bad_round() -> None:
    rounds = [summarise(_answered(one), window_s=1, slo_ms=50) for one in (10, 12, 700)]
    rounds.append(summarise([], window_s=1, slo_ms=50))
    median = median_of(rounds)
    assert median.p99_ms == pytest.approx(12)
    assert median.answered == 1
    assert median_of(rounds[3:]).p99_ms is None


def test_poisson_arrivals_have_the_rate_the_spread_and_the_seed() -> None:
    times = poisson(rate=200, seconds=50, seed=7)
    assert len(times) / 50 == pytest.approx(200, rel=0.03)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert statistics.mean(gaps) == pytest.approx(1 / 200, rel=0.03)
    # Of an exponential distribution the deviation is the mean: not evenly spaced.
    assert statistics.stdev(gaps) == pytest.approx(1 / 200, rel=0.05)
    assert times == sorted(times)
    assert times[-1] < 50
    assert times == poisson(rate=200, seconds=50, seed=7)
    assert times != poisson(rate=200, seconds=50, seed=8)


def test_rounds_alternate() -> None:
    assert [name for _, name in alternating(["a", "b"], 3)] == ["a", "b", "b", "a", "a", "b"]


@pytest.mark.parametrize(
    ("received", "body"),
    [
        (OK, b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n", b"ok"),
    ],
)
def test_a_response_is_whole_with_its_last_byte_and_not_before(
    received: bytes, body: bytes
) -> None:
    whole = parse(received)
    assert whole is not None
    assert (whole.status, whole.body) == (200, body)
    # A chunked body is whole with its last chunk; the blank line after it says nothing more.
    until = len(received) - (4 if b"chunked" in received else 1)
    assert all(parse(received[:end]) is None for end in range(until))


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (OK, Fate.ANSWERED),
        (BUSY, Fate.REFUSED),
        (BROKEN, Fate.FAILED),
        (NO_HTTP, Fate.FAILED),
        (CUT_SHORT, Fate.DROPPED),
        (DROP, Fate.DROPPED),
        (NEVER, Fate.GIVEN_UP),
    ],
)
async def test_what_became_of_a_request_is_what_the_server_did(
    answer: bytes | None, fate: Fate
) -> None:
    async with serving(Misbehaving((answer,))) as port:
        client = _client(port, patience_s=0.3)
        assert (await client.ask(_ASK)).fate is fate
        client.close()


async def test_a_server_that_is_gone_drops_requests() -> None:
    (port,) = free_ports(1)
    assert (await _client(port).ask(_ASK)).fate is Fate.DROPPED


async def test_a_misbehaving_server_is_counted_request_by_request() -> None:
    async with serving(Misbehaving((OK, BROKEN, DROP, OK, BUSY))) as port:
        client = _client(port)
        outcomes = await load.in_turn(client, [_ASK], count=50)
        client.close()
    summary = summarise(outcomes, window_s=1, slo_ms=1000)
    assert (summary.answered, summary.failed, summary.dropped, summary.refused) == (20, 10, 10, 10)


async def test_an_answer_that_came_after_its_client_gave_up_reaches_nobody() -> None:
    async with serving(Misbehaving((OK,), delay_s=0.3)) as port:
        client = _client(port, patience_s=0.1)
        fates = [(await client.ask(_ASK)).fate for _ in range(3)]
        client.close()
    assert fates == [Fate.GIVEN_UP] * 3


async def test_a_connection_that_was_given_up_is_not_asked_again() -> None:
    async with serving(Misbehaving((OK,), delay_s=0.3)) as port:
        connection = await HttpConnection.open(port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.ask(_ASK)
        assert not connection.is_open
        with pytest.raises(ConnectionError):
            await connection.ask(_ASK)


async def test_a_closed_loop_keeps_its_clients_busy_on_kept_connections() -> None:
    behaviour = Misbehaving((OK,), delay_s=0.05)
    async with serving(behaviour) as port:
        client = _client(port)
        outcomes = await load.closed_loop(client, [_ASK], clients=4, seconds=1.0)
        client.close()
    assert 4 < len(outcomes) <= 80
    # One after the other they could not have waited for more than a second together.
    assert 1.2 <= sum(one.latency_s for one in outcomes) <= 4.1
    assert behaviour.connections == 4
    assert all(one.ended_s <= 1.0 for one in outcomes)


async def test_an_open_loop_waits_for_nobody_and_counts_the_waiting() -> None:
    # One at a time, 0.1 s each: ten that are due at once take 1 s, the last of them.
    async with serving(Misbehaving((OK,), delay_s=0.1, alone=True)) as port:
        client = _client(port)
        outcomes = await load.open_loop(client, [_ASK], [0.0] * 10)
        client.close()
    latencies = sorted(one.latency_s for one in outcomes)
    assert len(latencies) == 10
    assert latencies[0] < latencies[-1] / 2
    assert latencies[-1] >= 1.0


def test_one_core_each_for_server_and_generator() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        with pytest.raises(ValueError, match="two cores"):
            Pinning.of(Cores.ONE)
        return
    pinning = Pinning.of(Cores.ONE)
    assert (list(pinning.server), list(pinning.generator)) == ([allowed[0]], [allowed[1]])
    assert pinning.server_cores == 1
    with pinning.here():
        assert os.sched_getaffinity(0) == {allowed[1]}
    assert sorted(os.sched_getaffinity(0)) == allowed
    free = Pinning.of(Cores.ALL)
    assert free.command(["server"]) == ["server"]
    assert free.server_cores == len(allowed)


# Starts a child that ignores SIGTERM and leaves the process group, then serves 200 to everybody.
_STUBBORN = """
import http.server, os, subprocess, sys
child = "import os, signal, time; os.setpgrp(); signal.signal(15, signal.SIG_IGN); time.sleep(600)"
print(subprocess.Popen([sys.executable, "-c", child]).pid, flush=True)
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""


@pytest.mark.parametrize("dies_first", [False, True])
async def test_a_server_runs_on_its_core_and_leaves_nothing_behind(
    tmp_path: Path, dies_first: bool
) -> None:
    (port,) = free_ports(1)
    pinning = Pinning.of(Cores.ONE if len(os.sched_getaffinity(0)) > 1 else Cores.ALL)
    async with running(
        pinning.command([sys.executable, "-c", _STUBBORN, str(port)]),
        environment=dict(os.environ),
        folder=tmp_path,
        log=tmp_path / "log",
        ready_url=f"http://127.0.0.1:{port}/",
        start_limit_s=60,
    ) as process:
        child = psutil.Process(int((tmp_path / "log").read_text().split()[0]))
        for one in (process, child):
            assert set(one.cpu_affinity()) == (pinning.server or os.sched_getaffinity(0))
        if dies_first:
            process.send_signal(signal.SIGKILL)
            await asyncio.sleep(0.2)
    assert not process.is_running()
    assert not child.is_running()


async def test_a_server_that_ends_at_once_says_why(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(NotStarted, match="no such model"):
        async with running(
            [sys.executable, "-c", "raise SystemExit('no such model')"],
            environment=dict(os.environ),
            folder=tmp_path,
            log=tmp_path / "log",
            ready_url="http://127.0.0.1:9/",
            start_limit_s=60,
        ):
            pytest.fail("it never became ready")
    assert time.monotonic() - started < 30
