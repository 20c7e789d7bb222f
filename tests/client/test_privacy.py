"""What names a patient stays with who knows it; what is computed with stays in the service."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import httpx
import pytest

from cxrserve.client import AsyncClient, Client, UnexpectedAnswer, UnreadableFile
from cxrserve.client.calls import predict_call
from cxrserve.errors import CxrError, UnknownOption
from tests.client.conftest import Asking, Serving, answer_to, film

_CANARY = "Zyxwvut^Canary"


def everything_about(error: BaseException) -> str:
    """What a log, a crash reporter or a debugger would show of an error and what led to it."""
    shown = [repr(error), str(vars(error))]
    chain: BaseException | None = error
    while chain is not None:
        shown += [repr(chain), *(repr(argument) for argument in chain.args)]
        shown.append(str(getattr(chain, "filename", "")))
        chain = chain.__cause__ or chain.__context__
    return "\n".join([*shown, *traceback.format_exception(error)])


@pytest.mark.parametrize("name", [f"{_CANARY}.dcm", "."])
async def test_an_unreadable_file_does_not_tell_its_path(
    asking: Asking, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / _CANARY
    folder.mkdir()
    with pytest.raises(UnreadableFile) as raised:
        await asking("http://localhost").predict(folder / name)
    assert _CANARY not in everything_about(raised.value)
    assert "directory" in raised.value.detail


@pytest.mark.parametrize("trouble", [httpx.ConnectError, httpx.ReadTimeout, None])
async def test_an_error_holds_neither_the_image_nor_what_was_answered(
    asking: Asking, trouble: type[httpx.TransportError] | None
) -> None:
    def service(request: httpx.Request) -> httpx.Response:
        if trouble:
            raise trouble("…", request=request)
        return httpx.Response(200, text=_CANARY)

    with pytest.raises(CxrError) as raised:
        await asking(service).predict(f"pixels of {_CANARY}".encode())
    assert _CANARY not in everything_about(raised.value)
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None


async def test_the_error_of_one_of_many_keeps_no_image_in_memory(asking: Asking) -> None:
    (outcome,) = await asking(lambda _: httpx.Response(400)).predict_many([(_CANARY, b"x")])
    assert isinstance(outcome.error, UnexpectedAnswer)
    assert outcome.error.__traceback__ is None
    assert _CANARY not in everything_about(outcome.error)


async def test_names_are_neither_logged_nor_sent(
    serving: Serving, asking: Asking, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"{_CANARY}.png"
    path.write_bytes(film())
    (tmp_path / f"{_CANARY}.pdf").write_bytes(b"%PDF-1.7")
    sent: list[httpx.Request] = []

    def service(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return answer_to(request)

    with caplog.at_level(logging.DEBUG), serving() as url:
        for of in (url, service):
            client = asking(of)
            await client.predict(path)
            outcomes = await client.predict_many([path, tmp_path / f"{_CANARY}.pdf"])
            assert {outcome.name for outcome in outcomes} == {f"{_CANARY}.png", f"{_CANARY}.pdf"}
            assert _CANARY not in repr(outcomes)
    assert "HTTP Request: POST" in caplog.text
    assert _CANARY not in caplog.text
    for request in sent:
        assert _CANARY not in f"{request.url} {request.headers}"
        assert _CANARY.encode() not in request.content


async def test_nothing_secret_shows_in_a_repr(asking: Asking) -> None:
    client = asking("https://host:3000/of/Zyxwvut", headers={"Authorization": _CANARY})
    assert repr(client.client).endswith("Client('https://host:3000')")
    assert "pixels" not in repr(predict_call(b"pixels", {}))


@pytest.mark.parametrize(
    "url", ["http://me:Zyxwvut@host", "Zyxwvut", "ftp://Zyxwvut", "http://Zyxwvut:port"]
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_address_that_cannot_be_used_is_refused_unquoted(
    kind: type[Client | AsyncClient], url: str
) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - what it says is checked below
        kind(url)
    assert "Zyxwvut" not in everything_about(raised.value)


@pytest.mark.parametrize("request_id", ["Zyxwvut Canary", "", "x" * 65, "a\nb"])
def test_an_id_that_the_service_would_not_keep_is_refused_unquoted(request_id: str) -> None:
    with pytest.raises(UnknownOption) as raised:
        predict_call(b"", {}, request_id=request_id)
    assert "Zyxwvut" not in everything_about(raised.value)


@pytest.mark.parametrize("deadline_ms", [0, -1, float("nan"), float("inf")])
def test_a_deadline_that_is_none_is_refused(deadline_ms: float) -> None:
    with pytest.raises(UnknownOption, match="deadline_ms"):
        predict_call(b"", {"deadline_ms": deadline_ms})


def test_the_client_imports_nothing_of_the_serving_side() -> None:
    script = "import sys, cxrserve.client; print(*sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    modules = set(out.stdout.split())
    assert "cxrserve.client.blocking" in modules
    for heavy in (
        "bentoml",
        "fastapi",
        "grpc",
        "numpy",
        "onnxruntime",
        "PIL",
        "prometheus_client",
        "pydicom",
        "starlette",
        "torch",
        "cxrserve.api",
        "cxrserve.batching",
        "cxrserve.engines",
        "cxrserve.predictor",
        "cxrserve.settings",
    ):
        assert heavy not in modules


def test_errors_can_be_sent_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnexpectedAnswer("said", advice="do", status=502)))
    assert (error.detail, error.advice, error.facts) == ("said", "do", {"status": 502})
