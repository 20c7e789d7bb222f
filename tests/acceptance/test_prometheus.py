"""A real Prometheus with our rules scrapes the real service: alerts fire and end, panels show data.

For its rules a minute is a second (`load_tests.peers.prometheus.faster`); nothing else is changed.
"""

from __future__ import annotations

import math
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from load_tests.alerts import HEAVY, TIMES, Callers, film
from load_tests.peers import debian
from load_tests.peers.prometheus import Prometheus, faster_query, running_prometheus
from prometheus_client.openmetrics import parser as openmetrics
from tritonclient import grpc as tritongrpc

from tests.acceptance.bad_uploads import phantom_bytes, truncated
from tests.acceptance.conftest import Server, kill, start_server
from tests.exposition import samples
from tests.k8s.monitoring import (
    PROMETHEUS_OWN,
    TARGET_LABELS,
    Query,
    asked_by,
    contract,
    dashboard_queries,
    recorded,
    rule_queries,
    runbook_queries,
)

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not debian.program("prometheus"), reason=debian.not_here("prometheus")),
]

# What a service without a Triton and without a GPU does not show, and what takes longer than this.
_NOT_HERE = {
    "cxrserve_triton_": "only where a Triton is asked (tests/triton)",
    "cxrserve_stand_in_used": "only of models that a Triton runs",
    "cxrserve_gpu_": "only where there is a GPU",
    "cxrserve_image_remarks_total": "the quality gate, which remarks, is off here",
}
_NOT_YET = {
    "offset": "a week ago there was no such Prometheus",
    "usual_ratio": "what is usual is known after two days",
    "shift": "what is usual is known after two days",
}
_FAST_BURN = ("CxrserveAvailabilityBudgetBurn", "1h")
# Two seconds of it are enough where nothing else runs; others may be at work on this machine.
_LIMIT_S = 30.0


@dataclass(frozen=True)
class Watched:
    """A service of one processor, and the Prometheus that scrapes it."""

    server: Server
    prometheus: Prometheus

    @property
    def address(self) -> str:
        return urlsplit(self.server.url).netloc


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    server = start_server(
        tmp_path_factory.mktemp("service") / "service.log",
        CXRSERVE_PROCESSORS="1",
        CXRSERVE_DEFAULT_DEADLINE_MS="5000",
        # What is sent here is no chest, and what is refused counts for no drift.
        CXRSERVE_GATE="off",
    )
    address = urlsplit(server.url).netloc
    scratch = tmp_path_factory.mktemp("prometheus")
    try:
        with running_prometheus(scratch, {"cxrserve-0": address}, times=TIMES) as prometheus:
            _ask_for_everything(server, tmp_path_factory.mktemp("films"))
            yield Watched(server, prometheus)
        server.stop()
    finally:
        kill(server)


def _ask_for_everything(server: Server, folder: Path) -> None:
    """At least one of each kind, and 200 films, from which on drift is told."""
    png = phantom_bytes(".png", folder)

    def ask(seed: int) -> int:
        return client.post("/v1/predict", content=film(seed)).status_code

    grpc = tritongrpc.InferenceServerClient(server.grpc)
    assert grpc.is_server_live()
    with server.client() as client, ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(210))) == {200}
        assert client.post("/v1/predict", content=png).status_code == 200
        assert client.post("/v1/predict", content=truncated(png, 60)).status_code == 422
        heavy = {"model": HEAVY, "priority": "urgent"}
        assert client.post("/v1/predict", params=heavy, content=film(0)).status_code == 200
        films = [("image", (f"{seed}.jpg", film(seed))) for seed in range(3)]
        assert client.post("/v1/predict/batch", files=films).status_code == 200
    # Again: of what was never seen before, Prometheus counts what comes after its first sight.
    assert grpc.is_server_live()
    grpc.close()


def _until(condition: Callable[[], bool]) -> float:
    """Wait; how long it took, in seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < _LIMIT_S
        time.sleep(0.1)
    return time.monotonic() - began


def test_an_overload_fires_the_burn_rate_alert_which_ends_with_it(watched: Watched) -> None:
    prometheus, callers = watched.prometheus, Callers(watched.address)
    with callers.steady(0.05):
        time.sleep(1)
        assert _FAST_BURN not in prometheus.firing()
        with callers.too_many():
            fired_s = _until(lambda: _FAST_BURN in prometheus.firing())
        ended_s = _until(lambda: _FAST_BURN not in prometheus.firing())
    print(f"fired {fired_s:.1f} s after the overload began, ended {ended_s:.1f} s after it did")
    assert callers.statuses[429] + callers.statuses[504] > 10
    assert callers.statuses[500] == callers.statuses[503] == 0


def test_prometheus_takes_what_the_service_shows(watched: Watched, tmp_path: Path) -> None:
    (target,) = watched.prometheus.targets()
    assert (target["health"], target["lastError"]) == ("up", "")
    # It asks for OpenMetrics; this checks the older format.
    promtool = debian.program("promtool")
    assert promtool
    with watched.server.client() as client:
        text = client.get("/metrics", headers={"accept": "text/plain"})
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text.content, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr.decode()


def test_every_metric_that_is_asked_for_is_shown_with_the_promised_labels(
    watched: Watched,
) -> None:
    with watched.server.client() as client:
        plain = samples(client.get("/metrics", headers={"accept": "text/plain"}).text)
        modern = client.get("/metrics", headers={"accept": "application/openmetrics-text"}).text
    families = openmetrics.text_string_to_metric_families(modern)  # type: ignore[no-untyped-call]
    queries = (*rule_queries(), *dashboard_queries(), *runbook_queries())
    asked = {one.name for query in queries for one in asked_by(query.text)}
    ours = asked - recorded().keys() - PROMETHEUS_OWN.keys()
    for told in (plain, [sample for family in families for sample in family.samples]):
        shown = {sample.name: frozenset(sample.labels) for sample in told}
        missing = {name for name in ours if name not in shown}
        assert missing == {name for name in ours if name.startswith(tuple(_NOT_HERE))}
        for name in ours & shown.keys():
            if name in contract():
                assert shown[name] == contract()[name], name


def test_every_rule_works_and_records_what_it_is_named_after(watched: Watched) -> None:
    for rule in watched.prometheus.rules():
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]
    for name, labels in recorded().items():
        found = watched.prometheus.query(f"last_over_time({name}[5m])")
        assert bool(found) is not _is_conditional(name), name
        for series in found:
            assert series["metric"].keys() - {"__name__"} == labels, name


@pytest.mark.parametrize("query", dashboard_queries(), ids=str)
def test_every_panel_shows_data(watched: Watched, query: Query) -> None:
    found = watched.prometheus.query_range(faster_query(query.text, TIMES), seconds=60)
    numbers = [float(value) for series in found for _, value in series["values"]]
    assert any(map(math.isfinite, numbers)) is not _is_conditional(query.text), query.text


def _is_conditional(query: str) -> bool:
    return any(re.search(rf"\b{name}|:{name}", query) for name in (*_NOT_HERE, *_NOT_YET))


def test_prometheus_writes_the_labels_that_queries_count_on(watched: Watched) -> None:
    (up,) = watched.prometheus.query("up")
    assert up["metric"].keys() - {"__name__"} == TARGET_LABELS
