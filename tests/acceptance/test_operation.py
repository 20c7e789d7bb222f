"""How the service behaves for those who run it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bentoml
import httpx
import psutil
import pydicom
import pytest

from tests.acceptance.bad_uploads import phantom_bytes
from tests.acceptance.conftest import ROOT, Server, kill, start_server

pytestmark = pytest.mark.server

_CANARY = "Zyxwvut^Canary"
# Seven networks, each of which has run batches of eight to be measured.
_MOST_RESIDENT_MIB = 800


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    running = start_server(tmp_path / "service.log")
    yield running
    kill(running)


def test_no_patient_name_reaches_log_metrics_or_disk(own_server: Server, tmp_path: Path) -> None:
    name = phantom_bytes(".dcm", tmp_path)
    dataset = pydicom.dcmread(tmp_path / "phantom.dcm")
    dataset.PatientName = dataset.InstitutionName = dataset.StudyDescription = _CANARY
    dataset.PatientID = "canary4711"
    dataset.save_as(tmp_path / "canary.dcm")
    name = (tmp_path / "canary.dcm").read_bytes()
    uploads: list[dict[str, object]] = [
        {"content": name},
        {"content": name[: len(name) // 2]},
        {"content": name.replace(b"CHEST ", b"HAND  ")},
        {"files": {"image": (f"{_CANARY}.dcm", name)}},
        {"files": {_CANARY: (f"{_CANARY}.dcm", name)}},
        {"content": name, "headers": {"content-type": f"image/{_CANARY}"}},
        {"content": name, "headers": {"x-request-id": f"{_CANARY} {_CANARY}"}},
        {"content": name, "params": {"model": _CANARY}},
        {"content": name, "params": {"priority": _CANARY}},
    ]
    watched = _files_written_by(own_server)
    with own_server.client() as client:
        for path in ("/v1/predict", "/predict", f"/v1/models/{_CANARY}", f"/{_CANARY}"):
            for upload in uploads:
                client.post(path, **upload)  # type: ignore[arg-type]
        metrics = client.get("/metrics").text
    assert _files_written_by(own_server) <= watched
    log = own_server.log.read_text()
    for word in (_CANARY, "canary4711"):
        assert word not in metrics
        assert word not in log
    assert 'route="/v1/predict"' in metrics


def _files_written_by(server: Server) -> set[str]:
    parent = psutil.Process(server.process.pid)
    files = {
        file.path
        for member in (parent, *parent.children(recursive=True))
        for file in member.open_files()
        if file.mode != "r"
    }
    temporary = Path(os.environ.get("TMPDIR", "/tmp"))
    uploads = {str(path) for path in temporary.glob("**/bentoml*/**/*.dcm*")}
    return files | uploads


def test_sigterm_lets_accepted_requests_finish_and_exits_cleanly(
    own_server: Server, tmp_path: Path
) -> None:
    image = phantom_bytes(".png", tmp_path)
    with own_server.client() as client, ThreadPoolExecutor(24) as pool:
        client.post("/v1/predict", content=image)
        asked = [pool.submit(client.post, "/v1/predict", content=image) for _ in range(24)]
        time.sleep(0.15)
        code = own_server.stop()
        answered = refused = 0
        for one in asked:
            try:
                answered += one.result().status_code == 200
            except httpx.TransportError:
                refused += 1  # it had not been accepted yet
    assert code == 0
    assert answered + refused == 24
    assert answered >= 2


def test_a_service_without_a_model_lives_but_is_not_ready_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "models" / "broken").mkdir(parents=True)
    with pytest.raises(pytest.fail.Exception) as failure:
        start_server(
            tmp_path / "service.log",
            wait_s=8,
            CXRSERVE_MODELS_DIR=str(tmp_path / "models"),
            CXRSERVE_GATE="off",
        )
    assert "no model could be loaded" in str(failure.value)
    assert "livez 200, readyz 503" in str(failure.value)


def test_broken_packages_are_named_and_the_rest_is_served(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "broken").mkdir(parents=True)
    for package in (ROOT / "models").iterdir():
        (models / package.name).symlink_to(package)
    running = start_server(tmp_path / "service.log", CXRSERVE_MODELS_DIR=str(models))
    try:
        listed = httpx.get(f"{running.url}/v1/models").json()
        assert [one["folder"] for one in listed["left_out"]] == ["broken"]
        image = phantom_bytes(".png", tmp_path)
        assert httpx.post(f"{running.url}/v1/predict", content=image).status_code == 200
    finally:
        kill(running)


def test_a_full_service_refuses_with_the_time_to_come_back(tmp_path: Path) -> None:
    running = start_server(
        tmp_path / "service.log",
        CXRSERVE_QUEUE_SIZE="1",
        CXRSERVE_PROCESSORS="1",
    )
    try:
        image = phantom_bytes(".png", tmp_path)
        with running.client() as client, ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: client.post("/v1/predict", content=image), range(48)))
        codes = {answer.status_code for answer in answers}
        assert codes == {200, 429}
        for answer in answers:
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
        assert httpx.get(f"{running.url}/readyz").status_code == 200
    finally:
        kill(running)


def test_memory_stays_within_its_bound_under_load(tmp_path: Path) -> None:
    # A server of its own: thousands of made-up requests before leave the shared one's heap in
    # pieces, which says nothing of this load.
    server = start_server(tmp_path / "service.log")
    images = [phantom_bytes(suffix, tmp_path) for suffix in (".png", ".jpg", ".dcm")]

    def load() -> float:
        with server.client() as client, ThreadPoolExecutor(16) as pool:
            list(
                pool.map(
                    lambda number: client.post("/v1/predict", content=images[number % 3]),
                    range(240),
                )
            )
        return server.resident_mib()

    try:
        load()
        before = load()
        assert load() < min(_MOST_RESIDENT_MIB, 1.05 * before)
    finally:
        kill(server)


def test_serving_needs_no_torch() -> None:
    serving = os.environ.get("CXRSERVE_SERVING_PYTHON")
    if serving is None:
        pytest.skip("CXRSERVE_SERVING_PYTHON is not set: `make test` sets it")
    probe = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is not None)"
    assert subprocess.run([serving, "-c", probe], check=False).returncode == 0


def test_bentomls_own_client_gets_the_same_findings(server: Server, tmp_path: Path) -> None:
    phantom_bytes(".png", tmp_path)
    file = tmp_path / "phantom.png"
    with bentoml.SyncHTTPClient(server.url) as client:
        native = client.predict(image=file)
    rest = httpx.post(f"{server.url}/v1/predict", content=file.read_bytes()).json()
    assert native["results"] == rest["results"]
    with (
        bentoml.SyncHTTPClient(server.url) as client,
        pytest.raises(bentoml.exceptions.BentoMLException, match="unsupported_media_type"),
    ):
        client.predict(image="http://127.0.0.1:9/never-fetched.png")


def test_documentation_and_front_page_load_nothing_from_outside(client: httpx.Client) -> None:
    page = client.get("/", follow_redirects=True)
    assert page.status_code == 200
    assert "//" not in page.text.replace("// ", "").replace("/*", "")
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert client.get(f"/docs-assets/{asset}").status_code == 200
    document = client.get("/openapi.json")
    assert "HTTPValidationError" not in document.text
    paths = document.json()["paths"]
    assert {"/v1/predict", "/v1/models", "/v1/models/{name}"} <= set(paths)
