"""Identical work in flight is done once, and nobody gets a worse answer for sharing it."""

from __future__ import annotations

import asyncio

import pytest

from cxrserve.batching.sharing import Sharing
from cxrserve.errors import DeadlineExceeded, EngineFailure


async def test_who_joins_with_a_later_deadline_does_it_himself_when_the_first_is_late() -> None:
    sharing: Sharing[str] = Sharing()

    async def late() -> str:
        await asyncio.sleep(0.01)
        raise DeadlineExceeded("too late")

    async def in_time() -> str:
        return "answer"

    first = asyncio.create_task(sharing.run(b"film", late))
    await asyncio.sleep(0)
    second = asyncio.create_task(sharing.run(b"film", in_time))
    with pytest.raises(DeadlineExceeded):
        await first
    assert await second == "answer"


async def test_a_failure_is_told_to_everybody_and_forgotten() -> None:
    sharing: Sharing[str] = Sharing()

    async def failing() -> str:
        await asyncio.sleep(0.01)
        raise EngineFailure("poison")

    async def well() -> str:
        return "answer"

    both = await asyncio.gather(
        sharing.run(b"film", failing), sharing.run(b"film", failing), return_exceptions=True
    )
    assert all(isinstance(one, EngineFailure) for one in both)
    assert await sharing.run(b"film", well) == "answer"


async def test_what_nobody_waits_for_any_more_is_stopped() -> None:
    sharing: Sharing[str] = Sharing()
    stopped = asyncio.Event()

    async def long() -> str:
        try:
            await asyncio.sleep(10)
        finally:
            stopped.set()
        return "answer"

    tasks = [asyncio.create_task(sharing.run(b"film", long)) for _ in range(2)]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    await asyncio.sleep(0.01)
    assert not stopped.is_set()
    tasks[1].cancel()
    await asyncio.wait_for(stopped.wait(), 1)
