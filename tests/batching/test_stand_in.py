"""A remote engine that may fail at any time, and what stands in for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxrserve.batching.batcher import Batcher
from cxrserve.engines.engine import Engine, Errand, Outputs
from cxrserve.engines.latency import LatencyTable
from cxrserve.errors import EngineFailure, EngineUnavailable
from tests.batching.test_batcher import STEEP, EchoEngine, ask


class Remote(EchoEngine):
    """An echo from elsewhere: it does with each batch what it was told to."""

    name = precision = "remote"
    slots, largest = 2, 8
    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}

    def __init__(self, fates: list[str]) -> None:
        super().__init__()
        self.fates, self.is_available = fates, True
        self.stand_in: Engine | None = None
        self.called_off = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._tell: Callable[[], None] = lambda: None

    def when_out_of_reach(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def goes(self) -> None:
        self.is_available = False
        self._tell()

    def run_errand(self, pixels: NDArray[np.uint8], errand: Errand) -> Outputs:
        errand.on_stop(self.called_off.set)
        fate = self.fates.pop() if self.fates else "works"
        if fate == "fails":
            raise EngineFailure("it failed")
        if fate == "unavailable":
            raise EngineUnavailable("it did not answer")
        if fate == "goes":
            self._loop.call_soon_threadsafe(self.goes)
            raise EngineUnavailable("it has gone")
        if fate == "hangs":
            self.called_off.wait(5)
        return self.run(pixels)


@settings(max_examples=60)
@given(
    values=st.lists(st.integers(0, 254), min_size=1, max_size=40),
    fates=st.lists(
        st.sampled_from(["works", "works", "fails", "unavailable", "goes"]), max_size=40
    ),
)
def test_every_request_gets_its_own_answer_whatever_the_remote_engine_does(
    values: list[int], fates: list[str]
) -> None:
    async def scenario() -> None:
        batcher = Batcher(processors=2, size=1000, clock=time.monotonic)
        remote, local = Remote(list(fates)), EchoEngine()
        batcher.serve(remote, STEEP)
        batcher.stand_in(remote, local, STEEP)
        assert await asyncio.gather(*(ask(batcher, remote, one) for one in values)) == values
        done = batcher.statistics_of(remote)
        assert done.images - done.failed >= len(values)
        await batcher.withdraw(remote)
        await batcher.close()

    asyncio.run(scenario())


async def test_who_waits_for_a_remote_engine_that_goes_is_answered_here() -> None:
    batcher = Batcher(processors=1, size=1000, clock=time.monotonic)
    remote, local = Remote([]), EchoEngine()
    remote.gate.clear()
    batcher.serve(remote, STEEP)
    batcher.stand_in(remote, local, STEEP)
    asked = [asyncio.ensure_future(ask(batcher, remote, value)) for value in range(10)]
    await asyncio.sleep(0.02)
    remote.goes()
    await asyncio.sleep(0.2)
    assert len(local.seen) >= 6, "those who were not running yet"
    remote.gate.set()
    assert await asyncio.gather(*asked) == list(range(10))
    await batcher.close()


async def test_without_a_stand_in_it_is_refused_at_once() -> None:
    batcher = Batcher(processors=1, size=1000, clock=time.monotonic)
    remote = Remote([])
    batcher.serve(remote, STEEP)
    remote.goes()
    with pytest.raises(EngineUnavailable, match="out of reach"):
        await ask(batcher, remote, 1)
    await batcher.close()


async def test_what_nobody_waits_for_any_more_is_called_off() -> None:
    batcher = Batcher(processors=1, size=1000, clock=time.monotonic)
    remote = Remote(["hangs"])
    batcher.serve(remote, STEEP)
    asked = asyncio.ensure_future(ask(batcher, remote, 1))
    await asyncio.sleep(0.02)
    assert not remote.called_off.is_set()
    asked.cancel()
    assert await asyncio.to_thread(remote.called_off.wait, 2)
    await batcher.close()


async def test_what_is_too_much_for_a_remote_engine_is_computed_here() -> None:
    batcher = Batcher(processors=1, size=1000, clock=time.monotonic)
    remote, local = Remote([]), EchoEngine()
    remote.gate.clear()
    batcher.serve(remote, LatencyTable.linear(0.0, 0.2))
    batcher.stand_in(remote, local, STEEP)
    asked = [
        asyncio.ensure_future(ask(batcher, remote, value, deadline=time.monotonic() + 1.5))
        for value in range(20)
    ]
    await asyncio.sleep(0.3)
    assert local.seen, "none was let in beyond what the remote engine can do in time"
    remote.gate.set()
    assert await asyncio.gather(*asked) == list(range(20))
    assert batcher.refused == 0
    await batcher.close()
