"""Bad input gets a clear error, quickly; nothing is kept of it, and the service goes on."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests.acceptance.bad_uploads import all_bad_uploads, phantom_bytes
from tests.acceptance.conftest import Server

pytestmark = pytest.mark.server

_SECONDS = 1.0
_KEPT_MIB = 60


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, str, set[int]]]:
    return all_bad_uploads(tmp_path_factory.mktemp("bad"))


def test_every_bad_upload_is_refused_quickly_and_the_next_good_one_is_answered(
    server: Server, bad: dict[str, tuple[bytes, str, set[int]]], tmp_path: Path
) -> None:
    assert len(bad) >= 30
    good = phantom_bytes(".png", tmp_path)
    faults = []
    with server.client() as client:
        for _ in range(3):  # what first use allocates is not a leak
            client.post("/v1/predict", content=good)
            client.post("/v1/predict", content=bad["100 MB of zeros"][0])
        before_mib = server.resident_mib()
        for name, (body, content_type, statuses) in bad.items():
            answer, seconds = _timed(client, body, content_type)
            if seconds > _SECONDS:
                # These machines are shared: a neighbour may have had the core, but not twice.
                answer, seconds = _timed(client, body, content_type)
            fault = _fault(answer, statuses, seconds)
            after = client.post("/v1/predict", content=good)
            if after.status_code != 200:
                fault = f"{fault} and then a good image got {after.status_code}"
            if fault:
                faults.append(f"{name}: {fault}")
        grown_mib = server.resident_mib() - before_mib
    assert not faults, "\n".join(faults)
    assert grown_mib < _KEPT_MIB


def _timed(client: httpx.Client, body: bytes, content_type: str) -> tuple[httpx.Response, float]:
    started = time.perf_counter()
    answer = client.post("/v1/predict", content=body, headers={"content-type": content_type})
    return answer, time.perf_counter() - started


def _fault(answer: httpx.Response, statuses: set[int], seconds: float) -> str:
    if answer.status_code not in statuses:
        return f"got {answer.status_code} {answer.text[:200]}, not {statuses}"
    if answer.headers["content-type"] != "application/problem+json":
        return f"no problem document but {answer.headers['content-type']}"
    problem = answer.json()
    missing = {"type", "title", "status", "detail", "instance", "code"} - set(problem)
    if missing or problem["status"] != answer.status_code:
        return f"a problem document without {missing}: {problem}"
    if problem["status"] == 422 and not problem.get("reasons"):
        return f"no machine-readable reason: {problem}"
    return f"took {seconds:.2f} s" if seconds > _SECONDS else ""


def test_a_wrong_content_type_is_remarked_but_the_content_decides(
    client: httpx.Client, tmp_path: Path
) -> None:
    answer = client.post(
        "/v1/predict",
        content=phantom_bytes(".png", tmp_path),
        headers={"content-type": "image/jpeg"},
    )
    assert answer.status_code == 200
    assert answer.json()["image"]["format"] == "image/png"
    assert "content_type_mismatch" in _warnings(answer)


def test_a_form_must_hold_exactly_one_image(client: httpx.Client, tmp_path: Path) -> None:
    image = phantom_bytes(".png", tmp_path)
    two = [("image", ("a.png", image)), ("image", ("b.png", image))]
    codes = {
        "two": client.post("/v1/predict", files=two),
        "none": client.post("/v1/predict", files={"picture": image}),
        "text": client.post("/v1/predict", data={"image": "x"}, files={"other": b"y"}),
        "broken": client.post(
            "/v1/predict",
            content=b"nonsense",
            headers={"content-type": "multipart/form-data; boundary=x"},
        ),
        "cut off": client.post(
            "/v1/predict",
            content=_form(image)[:-400],
            headers={"content-type": "multipart/form-data; boundary=x"},
        ),
        "no boundary": client.post(
            "/v1/predict", content=image, headers={"content-type": "multipart/form-data"}
        ),
    }
    assert {name: answer.json()["code"] for name, answer in codes.items()} == {
        "two": "several_images",
        "none": "no_image_part",
        "text": "no_image_part",
        "broken": "bad_request",
        "cut off": "no_image_part",
        "no boundary": "bad_request",
    }


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("model=nosuch", 404),
        ("operating_point=nosuch", 400),
        ("priority=now", 400),
        ("deadline_ms=0", 400),
        ("deadline_ms=soon", 400),
        ("force=perhaps", 400),
    ],
)
def test_a_wrong_option_is_named(
    client: httpx.Client, tmp_path: Path, query: str, status: int
) -> None:
    answer = client.post(f"/v1/predict?{query}", content=phantom_bytes(".png", tmp_path))
    assert answer.status_code == status
    assert query.split("=", maxsplit=1)[0] in str(answer.json())


def test_a_deadline_that_cannot_be_met_is_told_at_once(
    client: httpx.Client, tmp_path: Path
) -> None:
    answer = client.post("/v1/predict?deadline_ms=0.01", content=phantom_bytes(".png", tmp_path))
    assert answer.status_code == 504
    assert answer.json()["code"] == "deadline_exceeded"


@pytest.mark.parametrize("path", ["/nosuch", "/v1/nosuch", "/docs.json"])
def test_an_unknown_path_gets_a_problem_document_too(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_wrong_method_is_told_the_right_one(client: httpx.Client) -> None:
    answer = client.get("/v1/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def _form(image: bytes) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return head + image + b"\r\n--x--\r\n"


def _warnings(answer: httpx.Response) -> list[str]:
    return [warning["code"] for warning in answer.json()["image"]["warnings"]]
