"""What comes back is read as what it is: an answer, the service's own error, or neither."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve import errors
from cxrserve.answer import Answer
from cxrserve.api.problems import headers_of, problem_of, status_of
from cxrserve.client import UnexpectedAnswer
from cxrserve.client.replies import Reply, read_identified
from cxrserve.errors import CxrError
from tests.client.conftest import Asking, answer_to

_KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CxrError)
]
_facts = st.dictionaries(
    st.sampled_from(["limit_bytes", "labels", "faults", "reason", "retry_after_s", "self", "x"]),
    st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2),
    max_size=3,
)


def error_of(kind: type[CxrError], detail: str, advice: str, reasons: list[str]) -> CxrError:
    if issubclass(kind, errors.UnreadableImage):
        return kind(detail, advice=advice, reason=reasons[0])
    if issubclass(kind, errors.NotReadableAsChest):
        return kind(detail, advice=advice, reasons=reasons)
    if issubclass(kind, errors.Overloaded):
        return kind(detail, advice=advice, retry_after_s=7.0)
    return kind(detail, advice=advice)


@given(
    kind=st.sampled_from(_KINDS),
    detail=st.text(),
    advice=st.text(),
    reasons=st.lists(st.text(), min_size=1),
    facts=_facts,
)
def test_an_error_of_the_service_is_the_same_error_here(
    kind: type[CxrError], detail: str, advice: str, reasons: list[str], facts: dict[str, Any]
) -> None:
    there = error_of(kind, detail, advice, reasons)
    there.facts = facts
    document = problem_of(there, "some-id")
    sent = Reply(status_of(there), httpx.Headers(headers_of(there)), json.dumps(document).encode())
    with pytest.raises(CxrError) as raised:
        read_identified(Answer, sent, None)
    here = raised.value
    assert type(here) is kind
    assert problem_of(here, "some-id") == document
    assert here.facts["status"] == status_of(there)
    assert headers_of(here) == headers_of(there)


_NOT_OURS: list[httpx.Response] = [
    httpx.Response(200, text="<html>Zyxwvut</html>"),
    httpx.Response(200, json={"id": "Zyxwvut"}),
    httpx.Response(200, json=["Zyxwvut"]),
    httpx.Response(204),
    httpx.Response(302, headers={"location": "http://elsewhere/Zyxwvut"}),
    httpx.Response(401, text="Zyxwvut"),
    httpx.Response(404, json={"code": "not_found", "detail": "Zyxwvut"}),
    httpx.Response(502, json={"code": ["overloaded"], "detail": "Zyxwvut"}),
    httpx.Response(500, content=b"\xff\xfe"),
]


@pytest.mark.parametrize("reply", _NOT_OURS)
async def test_what_is_not_the_services_is_called_so_and_not_quoted(
    asking: Asking, reply: httpx.Response
) -> None:
    with pytest.raises(UnexpectedAnswer) as raised:
        await asking(lambda _: reply).predict(b"x")
    assert raised.value.facts["status"] == reply.status_code
    assert "Zyxwvut" not in repr(raised.value) + str(raised.value.facts)
    assert raised.value.__context__ is None


async def test_an_answer_to_another_request_is_refused(asking: Asking) -> None:
    def mixed_up(request: httpx.Request) -> httpx.Response:
        return answer_to(request, id="that-of-another-patient")

    with pytest.raises(UnexpectedAnswer, match="another request"):
        await asking(mixed_up).predict(b"x")
    assert (await asking(mixed_up, check_ids=False).predict(b"x")).id == "that-of-another-patient"


async def test_a_picture_of_another_request_is_refused(asking: Asking) -> None:
    def picture(request: httpx.Request) -> httpx.Response:
        headers = {"content-type": "image/png", "x-request-id": "another"}
        return httpx.Response(200, content=b"png", headers=headers)

    with pytest.raises(UnexpectedAnswer, match="another request"):
        await asking(picture).explain_picture(b"x", "pneumonia")
    assert await asking(picture, check_ids=False).explain_picture(b"x", "pneumonia") == b"png"


async def test_a_page_is_no_picture(asking: Asking) -> None:
    page = httpx.Response(200, text="<html>", headers={"content-type": "text/html"})
    with pytest.raises(UnexpectedAnswer, match="not a PNG"):
        await asking(lambda _: page).explain_picture(b"x", "pneumonia")
