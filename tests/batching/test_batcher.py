"""The batcher: every answer reaches its own request, whatever happens to the others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxrserve.batching.batcher import Asking, Batcher, digest_of
from cxrserve.batching.line import Priority
from cxrserve.engines.engine import Outputs
from cxrserve.engines.latency import LatencyTable
from cxrserve.errors import BadRequest, DeadlineExceeded, EngineFailure, NotReady, Overloaded

FAR = 1e9
POISON = 255
FLAT = LatencyTable({1: 0.010, 8: 0.011, 64: 0.012})
STEEP = LatencyTable.linear(0.0, 0.005)


class EchoEngine:
    """Gives each image's first pixel back as its logit; fails on a poisonous one."""

    name = precision = "echo"
    slots, independent_slots = 64, True
    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    @property
    def seen(self) -> list[int]:
        return [value for batch in self.batches for value in batch]

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        self.gate.wait(10)
        time.sleep(self.delay_s)
        values = pixels[:, 0, 0, 0].tolist()
        self.batches.append(values)
        if POISON in values:
            raise RuntimeError("poison")
        logits = pixels[:, 0, 0, :1].astype(np.float32)
        return Outputs(logits, logits[:, :, None, None], np.zeros(1, np.float32))

    def close(self) -> None:
        pass


class SharedDevice(EchoEngine):
    """An engine like a GPU: two calls in flight, one device."""

    slots, independent_slots = 2, False
    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}


@asynccontextmanager
async def batching(
    engine: EchoEngine,
    *,
    table: LatencyTable = STEEP,
    processors: int = 1,
    size: int = 1000,
    share_identical: bool = False,
) -> AsyncIterator[Batcher]:
    batcher = Batcher(
        processors=processors, size=size, clock=time.monotonic, share_identical=share_identical
    )
    batcher.serve(engine, table)
    yield batcher
    engine.gate.set()
    await batcher.close()


async def ask(
    batcher: Batcher,
    engine: EchoEngine,
    value: int,
    priority: Priority = Priority.ROUTINE,
    deadline: float = FAR,
    client: str = "",
) -> int:
    asking = Asking(
        priority=priority,
        deadline=deadline,
        client=client,
        digest=lambda: digest_of(client, bytes(value)),
    )
    with batcher.enter([engine], asking) as booking:
        inference = await booking.submit(engine, np.full((1, 4, 4), value, np.uint8))
    assert isinstance(inference.outputs, Outputs)
    return int(inference.outputs.logits[0, 0])


async def obedient(batcher: Batcher, engine: EchoEngine, value: int, wait_s: float) -> int:
    """Come back when told, twice more if the machine was slower than it knew."""
    for _ in range(3):
        await asyncio.sleep(wait_s)
        try:
            return await ask(batcher, engine, value, deadline=time.monotonic() + 0.3)
        except Overloaded as refusal:
            wait_s = refusal.retry_after_s
    raise AssertionError("it was told to come back three times, and refused each time")


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(0, 255), min_size=1, max_size=64),
    cancelled=st.sets(st.integers(0, 63)),
    late=st.sets(st.integers(0, 63)),
    priorities=st.lists(st.sampled_from(list(Priority)), min_size=64, max_size=64),
    clients=st.lists(st.sampled_from("abc"), min_size=64, max_size=64),
    processors=st.integers(1, 4),
    table=st.sampled_from([FLAT, STEEP]),
    engine=st.sampled_from([EchoEngine, SharedDevice]),
    pause=st.lists(st.booleans(), min_size=64, max_size=64),
)
def test_every_request_gets_its_own_answer_exactly_once(
    values: list[int],
    cancelled: set[int],
    late: set[int],
    priorities: list[Priority],
    clients: list[str],
    processors: int,
    table: LatencyTable,
    engine: type[EchoEngine],
    pause: list[bool],
) -> None:
    async def scenario() -> None:
        running = engine()
        async with batching(running, table=table, processors=processors) as batcher:
            tasks = []
            for index, value in enumerate(values):
                deadline = time.monotonic() + 0.02 if index in late else FAR
                tasks.append(
                    asyncio.create_task(
                        ask(batcher, running, value, priorities[index], deadline, clients[index])
                    )
                )
                if pause[index]:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
            stopped = {index for index in cancelled if index < len(tasks)}
            for index in stopped:
                tasks[index].cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        for index, (value, answer) in enumerate(zip(values, answers, strict=True)):
            if isinstance(answer, asyncio.CancelledError):
                assert index in stopped
            elif isinstance(answer, DeadlineExceeded | Overloaded):
                assert index in late
            elif value == POISON:
                assert isinstance(answer, EngineFailure)
            else:
                assert answer == value
        assert all(len(batch) <= table.largest for batch in running.batches)

    asyncio.run(scenario())


async def test_a_poisonous_image_among_64_fails_alone() -> None:
    engine = SharedDevice()
    engine.gate.clear()
    async with batching(engine, table=FLAT) as batcher:
        first = [asyncio.create_task(ask(batcher, engine, 0)) for _ in range(2)]
        await asyncio.sleep(0.02)
        values = [POISON if index == 37 else index for index in range(64)]
        tasks = [asyncio.create_task(ask(batcher, engine, value)) for value in values]
        await asyncio.sleep(0.02)
        engine.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*first)
    assert isinstance(answers.pop(37), EngineFailure)
    assert answers == [value for value in values if value != POISON]
    assert max(map(len, engine.batches)) > 32
    # Halving costs each good image at most one more run for each halving.
    assert sum(map(len, engine.batches)) <= 66 + 64 * 6


async def test_more_images_than_may_ever_wait_are_a_mistake_and_not_an_overload() -> None:
    engine = EchoEngine()
    async with batching(engine, size=4) as batcher:
        asking = Asking(priority=Priority.ROUTINE, deadline=FAR, images=5, decoded=True)
        with pytest.raises(BadRequest, match="more than may wait"):
            batcher.enter([engine], asking)
        asking = Asking(priority=Priority.ROUTINE, deadline=FAR, images=4, decoded=True)
        with batcher.enter([engine], asking) as booking:
            for value in range(4):
                pixels = np.full((1, 4, 4), value, np.uint8)
                assert (await booking.submit(engine, pixels)).batch >= 1


async def test_urgent_requests_overtake_routine_ones() -> None:
    engine = EchoEngine()
    engine.gate.clear()
    async with batching(engine) as batcher:
        running = asyncio.create_task(ask(batcher, engine, 1))
        await asyncio.sleep(0.02)
        waiting = [
            asyncio.create_task(ask(batcher, engine, value, priority))
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


async def test_a_caller_who_has_gone_is_not_computed() -> None:
    engine = EchoEngine()
    engine.gate.clear()
    async with batching(engine) as batcher:
        running = asyncio.create_task(ask(batcher, engine, 1))
        await asyncio.sleep(0.02)
        gone = asyncio.create_task(ask(batcher, engine, 2))
        await asyncio.sleep(0.02)
        gone.cancel()
        engine.gate.set()
        assert await running == 1
        assert await ask(batcher, engine, 3) == 3
    assert engine.seen == [1, 3]


async def test_who_becomes_late_while_waiting_is_told_before_the_deadline_and_not_computed() -> (
    None
):
    engine = EchoEngine()
    engine.gate.clear()
    async with batching(engine, table=LatencyTable.linear(0.0, 0.3)) as batcher:
        running = asyncio.create_task(ask(batcher, engine, 1))
        await asyncio.sleep(0.02)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="in the queue"):
            await ask(batcher, engine, 2, deadline=started + 1.0)
        assert time.monotonic() - started < 1.0  # the gate is shut for ten seconds
        engine.gate.set()
        assert await running == 1
    assert engine.seen == [1]


async def test_what_cannot_be_in_time_even_alone_is_said_at_once() -> None:
    engine = EchoEngine()
    async with batching(engine) as batcher:
        with pytest.raises(DeadlineExceeded, match="even when nobody waits"):
            await ask(batcher, engine, 1, deadline=time.monotonic() + 0.001)
    assert not engine.seen


async def test_who_would_be_late_is_refused_with_the_time_to_come_back_and_stat_gets_in() -> None:
    engine = EchoEngine(delay_s=0.01)
    table = LatencyTable.linear(0.0, 0.01)
    async with batching(engine, table=table) as batcher:
        inside = [
            asyncio.create_task(ask(batcher, engine, value, Priority.URGENT)) for value in range(40)
        ]
        await asyncio.sleep(0)
        soon = time.monotonic() + 0.2
        with pytest.raises(Overloaded) as refusal:
            await ask(batcher, engine, 77, deadline=soon)
        assert 0.1 < refusal.value.retry_after_s < 1.5
        assert await ask(batcher, engine, 88, Priority.STAT, deadline=soon) == 88
        assert await obedient(batcher, engine, 77, refusal.value.retry_after_s) == 77
        assert await asyncio.gather(*inside) == list(range(40))


async def test_a_full_queue_refuses_routine_and_keeps_room_for_stat() -> None:
    engine = EchoEngine()
    engine.gate.clear()
    async with batching(engine, size=4) as batcher:
        inside = [asyncio.create_task(ask(batcher, engine, 0))]
        await asyncio.sleep(0.02)
        inside += [asyncio.create_task(ask(batcher, engine, value)) for value in (1, 2, 3, 4)]
        await asyncio.sleep(0.02)
        with pytest.raises(Overloaded):
            await ask(batcher, engine, 5)
        stat = asyncio.create_task(ask(batcher, engine, 6, Priority.STAT))
        await asyncio.sleep(0.02)
        engine.gate.set()
        assert await stat == 6
        assert await asyncio.gather(*inside) == [0, 1, 2, 3, 4]


async def test_one_client_with_a_hundred_requests_does_not_hold_up_another() -> None:
    engine = EchoEngine()
    engine.gate.clear()
    async with batching(engine) as batcher:
        bulk = [asyncio.create_task(ask(batcher, engine, 1, client="bulk")) for _ in range(100)]
        await asyncio.sleep(0.02)
        one = asyncio.create_task(ask(batcher, engine, 2, client="one"))
        await asyncio.sleep(0.02)
        engine.gate.set()
        await asyncio.gather(one, *bulk)
    assert engine.seen.index(2) <= 3


async def test_closing_finishes_what_was_let_in_and_takes_nothing_more() -> None:
    engine = EchoEngine(delay_s=0.01)
    async with batching(engine) as batcher:
        accepted = [asyncio.create_task(ask(batcher, engine, value)) for value in range(5)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(NotReady):
            await ask(batcher, engine, 9)
        assert await asyncio.gather(*accepted) == [0, 1, 2, 3, 4]
        await closing


async def test_decoding_waits_for_more_urgent_batches_and_goes_before_less_urgent_ones() -> None:
    order: list[str] = []

    class Telling(EchoEngine):
        def run(self, pixels: NDArray[np.uint8]) -> Outputs:
            outputs = super().run(pixels)
            order.append(f"batch {pixels[0, 0, 0, 0]}")
            return outputs

    engine = Telling()
    engine.gate.clear()
    async with batching(engine) as batcher:
        running = asyncio.create_task(ask(batcher, engine, 1))
        await asyncio.sleep(0.02)

        async def decode(name: str, priority: Priority) -> None:
            asking = Asking(priority=priority, deadline=FAR)
            await batcher.decode(lambda: order.append(name), asking)

        waiting = [
            asyncio.create_task(decode("routine decode", Priority.ROUTINE)),
            asyncio.create_task(ask(batcher, engine, 2, Priority.URGENT)),
            asyncio.create_task(decode("stat decode", Priority.STAT)),
        ]
        await asyncio.sleep(0.02)
        engine.gate.set()
        await asyncio.gather(running, *waiting)
    assert order == ["batch 1", "stat decode", "batch 2", "routine decode"]


async def test_an_engine_that_wants_all_cores_is_not_starved_by_decoding() -> None:
    class Wide(EchoEngine):
        slots = 1

    engine = Wide()
    async with batching(engine, processors=2) as batcher:
        asking = Asking(priority=Priority.ROUTINE, deadline=FAR)
        ends = time.monotonic() + 0.4

        async def keep_decoding() -> None:
            while time.monotonic() < ends:
                await batcher.decode(lambda: time.sleep(0.005), asking)

        noise = [asyncio.create_task(keep_decoding()) for _ in range(6)]
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(ask(batcher, engine, 3), 0.2) == 3
        await asyncio.gather(*noise)


async def test_what_ran_refreshes_the_table() -> None:
    engine = EchoEngine(delay_s=0.05)
    table = LatencyTable.linear(0.0, 0.005)
    async with batching(engine, table=table) as batcher:
        for value in range(12):
            await ask(batcher, engine, value)
        assert table.seconds(1) > 0.012
        (queue,) = batcher
        assert queue.statistics.batches == {1: 12}
        assert queue.statistics.images == 12


@pytest.mark.parametrize(("share", "runs"), [(False, 4), (True, 2)])
async def test_identical_images_in_flight_are_computed_once_if_asked(
    share: bool, runs: int
) -> None:
    engine = EchoEngine()
    engine.gate.clear()
    async with batching(engine, share_identical=share) as batcher:
        tasks = [asyncio.create_task(ask(batcher, engine, value)) for value in (7, 7, 8, 7)]
        await asyncio.sleep(0.02)
        engine.gate.set()
        assert await asyncio.gather(*tasks) == [7, 7, 8, 7]
    assert len(engine.seen) == runs


async def test_who_shares_an_image_is_answered_although_its_first_caller_has_gone() -> None:
    engine = EchoEngine()
    engine.gate.clear()
    async with batching(engine, share_identical=True) as batcher:
        running = asyncio.create_task(ask(batcher, engine, 1))
        await asyncio.sleep(0.02)
        first, second = (asyncio.create_task(ask(batcher, engine, 7)) for _ in range(2))
        await asyncio.sleep(0.02)
        first.cancel()
        await asyncio.sleep(0.02)
        engine.gate.set()
        assert await second == 7
        assert await running == 1
    assert engine.seen == [1, 7]


async def test_a_routine_request_gets_through_a_flood_of_urgent_decoding() -> None:
    engine = EchoEngine()
    async with batching(engine) as batcher:
        ends = time.monotonic() + 1.2
        urgent = Asking(priority=Priority.URGENT, deadline=FAR)

        async def keep_decoding() -> None:
            while time.monotonic() < ends:
                await batcher.decode(lambda: time.sleep(0.01), urgent)

        flood = [asyncio.create_task(keep_decoding()) for _ in range(4)]
        await asyncio.sleep(0.05)
        deadline = time.monotonic() + 0.8
        routine = Asking(priority=Priority.ROUTINE, deadline=deadline)
        await batcher.decode(lambda: None, routine)
        assert await ask(batcher, engine, 3, deadline=deadline) == 3
        assert time.monotonic() < deadline
        await asyncio.gather(*flood)


async def test_who_waits_is_counted_by_class() -> None:
    engine = EchoEngine()
    engine.gate.clear()
    async with batching(engine) as batcher:
        asked = [asyncio.create_task(ask(batcher, engine, 0))]
        await asyncio.sleep(0.02)
        for priority, count in ((Priority.STAT, 1), (Priority.URGENT, 2), (Priority.ROUTINE, 4)):
            for _ in range(count):
                asked.append(asyncio.create_task(ask(batcher, engine, 1, priority)))
        await asyncio.sleep(0.02)
        queue = batcher.queue_of(engine)
        assert queue.waiting() == {Priority.STAT: 1, Priority.URGENT: 2, Priority.ROUTINE: 4}
        assert len(queue) == 7
        engine.gate.set()
        await asyncio.gather(*asked)
        assert not any(queue.waiting().values())
