"""When a request is sent again: as the service says, while it makes sense, under one id."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.client import ONCE, Client, Retries, UnexpectedAnswer, Unreachable
from cxrserve.errors import CxrError, DeadlineExceeded, NotReady, Overloaded
from tests.client.conftest import Asking, FakeTime, answer_to, busy, fake, problem

Step = httpx.Response | type[httpx.TransportError] | Callable[[httpx.Request], httpx.Response]


class Script:
    """Answers requests with these in turn; keeps what it was asked, and when."""

    def __init__(self, time_: FakeTime, *steps: Step, each_s: float = 0.0) -> None:
        self._time, self._each_s = time_, each_s
        self._steps: Iterator[Step] = iter(steps)
        self.requests: list[httpx.Request] = []
        self.times_s: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times_s.append(self._time.now_s - 1000.0)
        self._time.now_s += self._each_s
        step = next(self._steps, None)
        assert step is not None, "asked once too often"
        if isinstance(step, type):
            raise step("text of httpx", request=request)
        return step(request) if callable(step) else step


@pytest.fixture
def script(fake_time: FakeTime) -> Callable[..., Script]:
    return lambda *steps, **more: Script(fake_time, *steps, **more)


Scripted = Callable[..., Script]


async def test_who_is_refused_comes_back_when_he_was_told_to(
    asking: Asking, script: Scripted
) -> None:
    service = script(busy(3), busy(7), answer_to)
    await asking(service).predict(b"x")
    assert service.times_s == [0, 3, 10]


async def test_all_attempts_of_a_request_have_one_id_and_other_requests_another(
    asking: Asking, script: Scripted
) -> None:
    service = script(busy(), httpx.ConnectError, answer_to, answer_to)
    client = asking(service)
    first = await client.predict(b"x")
    await client.predict(b"x")
    ids = [request.headers["x-request-id"] for request in service.requests]
    assert ids[:3] == [first.id] * 3
    assert ids[3] != first.id


async def test_every_attempt_carries_the_whole_image(asking: Asking, script: Scripted) -> None:
    service = script(busy(), httpx.ReadError, answer_to)
    await asking(service).predict(b"the image")
    assert [request.content for request in service.requests] == [b"the image"] * 3


@pytest.mark.parametrize(
    "trouble",
    [
        busy(1),
        problem(429, "overloaded"),
        problem(503, "not_ready", {"Retry-After": "5"}),
        httpx.Response(503, text="<h1>no upstream</h1>"),
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.ReadError,
        httpx.WriteError,
        httpx.RemoteProtocolError,
        httpx.ProxyError,
    ],
)
async def test_what_passes_is_waited_for(asking: Asking, script: Scripted, trouble: Step) -> None:
    service = script(trouble, answer_to)
    await asking(service).predict(b"x")
    assert len(service.requests) == 2
    assert service.times_s[1] > 0


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (problem(400, "bad_request"), CxrError),
        (problem(413, "too_large"), CxrError),
        (problem(422, "unreadable_image"), CxrError),
        (problem(500, "engine_failure"), CxrError),
        (problem(504, "deadline_exceeded"), DeadlineExceeded),
        (httpx.Response(502), UnexpectedAnswer),
        (httpx.Response(307, headers={"location": "http://elsewhere/"}), UnexpectedAnswer),
        (httpx.ReadTimeout, Unreachable),
        (httpx.WriteTimeout, Unreachable),
        (httpx.UnsupportedProtocol, Unreachable),
    ],
)
async def test_what_would_be_the_same_again_is_not_asked_again(
    asking: Asking, script: Scripted, trouble: Step, error: type[CxrError]
) -> None:
    service = script(trouble)
    with pytest.raises(error) as raised:
        await asking(service).predict(b"x")
    assert raised.value.facts["attempts"] == 1


async def test_no_attempt_begins_after_the_total_time(asking: Asking, script: Scripted) -> None:
    service = script(*[busy(4)] * 9)
    with pytest.raises(Overloaded) as raised:
        await asking(service, retries=Retries(total_s=10)).predict(b"x")
    assert service.times_s == [0, 4, 8]
    assert raised.value.facts["attempts"] == 3
    assert raised.value.retry_after_s == 4


async def test_the_total_time_counts_what_the_attempts_took(
    asking: Asking, script: Scripted
) -> None:
    service = script(*[busy(1)] * 9, each_s=4)
    with pytest.raises(Overloaded):
        await asking(service, retries=Retries(total_s=10)).predict(b"x")
    assert service.times_s == [0, 5, 10]


async def test_without_retries_there_is_one_attempt(asking: Asking, script: Scripted) -> None:
    service = script(busy(0))
    with pytest.raises(Overloaded):
        await asking(service, retries=ONCE).predict(b"x")


async def test_nobody_comes_back_after_his_deadline(asking: Asking, script: Scripted) -> None:
    service = script(busy(2), busy(2))
    with pytest.raises(Overloaded):
        await asking(service).predict(b"x", deadline_ms=3900)
    assert service.times_s == [0, 2]


async def test_nobody_comes_back_with_less_time_than_it_took_to_be_refused(
    asking: Asking, script: Scripted
) -> None:
    service = script(busy(1), each_s=0.5)
    with pytest.raises(Overloaded):
        await asking(service).predict(b"x", deadline_ms=1999)
    again = script(busy(1), answer_to, each_s=0.5)
    await asking(again).predict(b"x", deadline_ms=2001)


async def test_the_service_is_told_what_is_left_of_the_deadline(
    asking: Asking, script: Scripted
) -> None:
    service = script(busy(2), answer_to, each_s=0.25)
    await asking(service).predict(b"x", deadline_ms=5000)
    told = [float(request.url.params["deadline_ms"]) for request in service.requests]
    assert told == [5000, 2750]


async def test_a_request_is_waited_for_a_little_longer_than_its_deadline(
    asking: Asking, script: Scripted
) -> None:
    service = script(busy(2), answer_to, answer_to)
    client = asking(service, timeout_s=33)
    await client.predict(b"x", deadline_ms=5000)
    await client.predict(b"x")
    waits = [request.extensions["timeout"]["read"] for request in service.requests]
    assert waits == [6, 4, 33]
    connects = [request.extensions["timeout"]["connect"] for request in service.requests]
    assert connects == [5, 4, 5]


async def test_a_deadline_that_passes_unanswered_is_called_so(
    asking: Asking, script: Scripted
) -> None:
    service = script(httpx.ReadTimeout)
    with pytest.raises(DeadlineExceeded) as raised:
        await asking(service).predict(b"x", deadline_ms=5000)
    assert raised.value.facts["attempts"] == 1


async def test_a_service_that_names_no_time_is_asked_ever_less_often(
    asking: Asking, script: Scripted
) -> None:
    service = script(*[httpx.ConnectError] * 99)
    with pytest.raises(Unreachable):
        await asking(service, retries=Retries(total_s=30)).predict(b"x")
    pauses_s = [after - before for before, after in itertools.pairwise(service.times_s)]
    assert pauses_s[:5] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2])
    assert max(pauses_s) == pytest.approx(Retries().most_s)


async def test_a_service_that_says_at_once_is_not_asked_without_pause(
    asking: Asking, script: Scripted
) -> None:
    service = script(busy(0), busy(-5), busy("soon"), answer_to)
    await asking(service).predict(b"x")
    assert all(after > before for before, after in itertools.pairwise(service.times_s))


async def test_a_date_to_come_back_at_is_read_by_the_clock_of_who_named_it(
    asking: Asking, script: Scripted
) -> None:
    date = {"Date": "Wed, 21 Oct 2015 07:28:00 GMT", "Retry-After": "Wed, 21 Oct 2015 07:28:09 GMT"}
    service = script(problem(503, "not_ready", date), answer_to)
    await asking(service).predict(b"x")
    assert service.times_s == [0, 9]


async def test_lists_of_models_are_waited_for_too(asking: Asking, script: Scripted) -> None:
    empty = httpx.Response(200, json={"models": [], "left_out": []})
    service = script(problem(503, "not_ready", {"Retry-After": "5"}), empty)
    await asking(service).models()
    assert service.times_s == [0, 5]


async def test_giving_up_says_what_the_last_attempt_said(asking: Asking, script: Scripted) -> None:
    service = script(httpx.ConnectError, busy(1), problem(503, "not_ready", {"Retry-After": "99"}))
    with pytest.raises(NotReady) as raised:
        await asking(service).predict(b"x", request_id="mine-7")
    assert raised.value.facts["request_id"] == "mine-7"
    assert (raised.value.facts["attempts"], raised.value.facts["status"]) == (3, 503)


async def test_readiness_is_asked_once(asking: Asking, script: Scripted) -> None:
    elsewhere = [httpx.Response(404), httpx.Response(302, headers={"location": "http://x"})]
    service = script(busy(), httpx.ConnectError, httpx.Response(200), *elsewhere)
    client = asking(service)
    assert [await client.ready() for _ in range(3)] == [False, False, True]
    for _ in elsewhere:
        with pytest.raises(UnexpectedAnswer):
            await client.ready()


@given(
    attempt=st.integers(1, 2000),
    retry_after_s=st.none() | st.floats(0, 1e6),
    chance=st.floats(0, 1),
)
def test_a_pause_is_never_shorter_than_asked_for_and_little_longer(
    attempt: int, retry_after_s: float | None, chance: float
) -> None:
    pause_s = Retries().pause_s(attempt, retry_after_s, chance)
    assert pause_s > 0
    if retry_after_s:
        assert retry_after_s <= pause_s <= min(retry_after_s + 1.0, 1.25 * retry_after_s)
    else:
        assert pause_s <= 1.25 * Retries().most_s


def test_clients_that_were_refused_together_do_not_come_back_together() -> None:
    pauses_s = {Retries().pause_s(1, 2.0, chance / 10) for chance in range(11)}
    assert len(pauses_s) == 11


@given(
    told_s=st.lists(st.none() | st.integers(0, 30), max_size=40),
    each_s=st.floats(0.001, 5),
    total_s=st.floats(0, 60),
    deadline_ms=st.none() | st.floats(1, 60_000),
    chance=st.floats(0, 1),
)
def test_whatever_the_service_says_no_attempt_begins_too_late_or_too_early(
    told_s: list[int | None],
    each_s: float,
    total_s: float,
    deadline_ms: float | None,
    chance: float,
) -> None:
    time_ = FakeTime()
    steps: list[Step] = [httpx.ConnectError if told is None else busy(told) for told in told_s]
    service = Script(time_, *steps, answer_to, each_s=each_s)
    options = fake(Client, time_, service) | {"chance": lambda: chance}
    client = Client("http://service", retries=Retries(total_s=total_s), **options)
    with client, contextlib.suppress(Overloaded, Unreachable):
        client.predict(b"x", deadline_ms=deadline_ms)
    assert all(start <= total_s + 1e-6 for start in service.times_s)
    assert all(start < (deadline_ms or math.inf) / 1e3 + 1e-6 for start in service.times_s[1:])
    for (before, after), told in zip(itertools.pairwise(service.times_s), told_s, strict=False):
        assert after - before >= (told or 0) + each_s - 1e-6
