"""The queue: answers reach their requests, urgent ones first, the absent are not computed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxrserve.batching.queue import InferenceQueue, Priority
from cxrserve.engines.engine import Outputs
from cxrserve.errors import DeadlineExceeded, EngineFailure, NotReady, Overloaded

FAR = 1e9
POISON = 255


class EchoEngine:
    """Gives the image's first pixel back as its logit; fails on a poisonous one."""

    name = "echo"

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.seen: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        self.gate.wait(10)
        time.sleep(self.delay_s)
        value = int(pixels[0, 0, 0, 0])
        self.seen.append(value)
        if value == POISON:
            raise RuntimeError("poison")
        logits = pixels[:, 0, 0, :1].astype(np.float32)
        return Outputs(logits, logits[:, :, None, None], np.zeros(1, np.float32))

    def close(self) -> None:
        pass


def image(value: int) -> NDArray[np.uint8]:
    return np.full((1, 4, 4), value, np.uint8)


def new_queue(workers: int = 1, size: int = 1000) -> InferenceQueue:
    return InferenceQueue(workers=workers, size=size, clock=time.monotonic)


@pytest.fixture
async def queue() -> AsyncIterator[InferenceQueue]:
    made = new_queue()
    yield made
    await made.close()


async def ask(
    queue: InferenceQueue,
    engine: EchoEngine,
    value: int,
    priority: Priority = Priority.ROUTINE,
    deadline: float = FAR,
) -> int:
    inference = await queue.submit(engine, image(value), priority=priority, deadline=deadline)
    assert isinstance(inference.outputs, Outputs)
    return int(inference.outputs.logits[0, 0])


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(0, 255), min_size=1, max_size=40),
    cancelled=st.sets(st.integers(0, 39)),
    priorities=st.lists(st.sampled_from(list(Priority)), min_size=40, max_size=40),
    workers=st.integers(1, 4),
)
def test_every_request_gets_its_own_answer_whatever_else_happens(
    values: list[int], cancelled: set[int], priorities: list[Priority], workers: int
) -> None:
    async def scenario() -> None:
        queue, engine = new_queue(workers), EchoEngine()
        tasks = [
            asyncio.create_task(ask(queue, engine, value, priorities[index]))
            for index, value in enumerate(values)
        ]
        await asyncio.sleep(0)
        for index in cancelled:
            if index < len(tasks):
                tasks[index].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for index, (value, answer) in enumerate(zip(values, answers, strict=True)):
            if index in cancelled:
                assert isinstance(answer, asyncio.CancelledError)
            elif value == POISON:
                assert isinstance(answer, EngineFailure)
            else:
                assert answer == value
        await queue.close()

    asyncio.run(scenario())


async def test_urgent_requests_overtake_routine_ones(queue: InferenceQueue) -> None:
    engine = EchoEngine()
    engine.gate.clear()
    running = asyncio.create_task(ask(queue, engine, 1))
    await asyncio.sleep(0.02)
    waiting = [
        asyncio.create_task(ask(queue, engine, value, priority))
        for value, priority in (
            (2, Priority.ROUTINE),
            (3, Priority.URGENT),
            (4, Priority.STAT),
        )
    ]
    await asyncio.sleep(0.05)
    engine.gate.set()
    await asyncio.gather(running, *waiting)
    assert engine.seen == [1, 4, 3, 2]


async def test_a_caller_who_has_gone_is_not_computed(queue: InferenceQueue) -> None:
    engine = EchoEngine()
    engine.gate.clear()
    running = asyncio.create_task(ask(queue, engine, 1))
    await asyncio.sleep(0.02)
    gone = asyncio.create_task(ask(queue, engine, 2))
    await asyncio.sleep(0.02)
    gone.cancel()
    engine.gate.set()
    assert await running == 1
    assert await ask(queue, engine, 3) == 3
    assert engine.seen == [1, 3]


async def test_work_whose_deadline_has_passed_is_refused_and_not_computed(
    queue: InferenceQueue,
) -> None:
    engine = EchoEngine(delay_s=0.05)
    running = asyncio.create_task(ask(queue, engine, 1))
    await asyncio.sleep(0.01)
    with pytest.raises(DeadlineExceeded, match="deadline"):
        await ask(queue, engine, 2, deadline=time.monotonic() + 0.01)
    assert await running == 1
    assert engine.seen == [1]


async def test_a_full_queue_refuses_with_the_time_to_come_back() -> None:
    queue, engine = new_queue(size=2), EchoEngine()
    engine.gate.clear()
    inside = [asyncio.create_task(ask(queue, engine, 1))]
    await asyncio.sleep(0.02)
    inside += [asyncio.create_task(ask(queue, engine, value)) for value in (2, 3)]
    await asyncio.sleep(0.02)
    with pytest.raises(Overloaded) as refusal:
        await ask(queue, engine, 4)
    assert refusal.value.retry_after_s > 0
    engine.gate.set()
    assert await asyncio.gather(*inside) == [1, 2, 3]
    await queue.close()


async def test_a_poisonous_image_fails_alone_and_the_next_is_answered(
    queue: InferenceQueue,
) -> None:
    engine = EchoEngine()
    answers = await asyncio.gather(
        *(ask(queue, engine, value) for value in (1, POISON, 2)), return_exceptions=True
    )
    assert answers[0] == 1
    assert isinstance(answers[1], EngineFailure)
    assert answers[2] == 2


async def test_closing_finishes_what_was_accepted_and_takes_nothing_more() -> None:
    queue, engine = new_queue(), EchoEngine(delay_s=0.01)
    accepted = [asyncio.create_task(ask(queue, engine, value)) for value in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    closing = asyncio.create_task(queue.close())
    await asyncio.sleep(0)
    with pytest.raises(NotReady):
        await ask(queue, engine, 9)
    await closing
    assert await asyncio.gather(*accepted) == [0, 1, 2, 3, 4]
