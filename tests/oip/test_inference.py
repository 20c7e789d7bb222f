"""One request of the protocol on real, tiny models, without a wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.batching.line import Priority
from cxrserve.errors import BadTensor, ModelNotFound, UnsupportedUpload
from cxrserve.observability.telemetry import Telemetry
from cxrserve.oip.inference import Caller, infer, model_of
from cxrserve.oip.interface import wire_version
from cxrserve.oip.messages import InferRequest, InferResponse, RequestedOutput
from cxrserve.oip.tensors import Tensor
from cxrserve.predictor import Predictor, Question
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings
from tests.api.conftest import png
from tests.tiny_package import SIDE, write_tiny_package

_BLACK = np.zeros((1, 1, SIDE, SIDE), np.uint8)


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    write_tiny_package(tmp_path / "tiny")
    write_tiny_package(tmp_path / "newer", version="1.10.0", bias=3.0)
    write_tiny_package(tmp_path / "older", version="1.9.0", bias=2.0)
    running = Runtime(
        Settings(models_dir=tmp_path, gate="off", dicom_processes=1, repository_control="on")
    )
    await running.start()
    yield running
    await running.stop()


def pixels(data: Any = _BLACK) -> Tensor:
    return Tensor("pixels", "UINT8", data.shape, data)


def files(*data: bytes) -> Tensor:
    return Tensor("image", "BYTES", (len(data), 1), list(data))


async def asked(runtime: Runtime, tensor: Tensor, **more: Any) -> InferResponse:
    request = InferRequest(model="tiny", inputs=(tensor,), **more)
    return await infer(runtime.predictor, request, Caller(), Telemetry())


def first_logit(response: InferResponse) -> float:
    (logits,) = [one for one in response.outputs if one.name == "logits"]
    assert isinstance(logits.data, np.ndarray)
    return float(logits.data[0, 1])


async def test_the_newest_version_answers_unless_another_is_asked(runtime: Runtime) -> None:
    answers = [await asked(runtime, pixels(), version=v) for v in ("", "1.9.0", "1.0.0")]
    assert [one.version for one in answers] == ["1010000", "1009000", "1"]
    assert [first_logit(one) for one in answers] == [3.0, 2.0, 0.0]
    assert len({one.parameters["digest"] for one in answers}) == 3
    for version in ("2", "1.10", "latest"):
        with pytest.raises(ModelNotFound, match="Request for unknown model"):
            model_of(runtime.predictor.repository, "tiny", version)


async def test_files_are_answered_in_their_order_alone_or_together(runtime: Runtime) -> None:
    rng = np.random.default_rng(3)
    films = [png(rng.integers(0, 256, (33, 41), np.uint8)) for _ in range(9)]
    together = await asked(runtime, files(*films))
    alone = [await asked(runtime, files(film)) for film in films]
    for place, tensor in enumerate(together.outputs):
        assert isinstance(tensor.data, np.ndarray)
        apart = [one.outputs[place].data for one in alone]
        np.testing.assert_array_equal(tensor.data, np.concatenate(apart))


async def test_a_file_that_cannot_be_read_fails_its_request_and_no_other(
    runtime: Runtime,
) -> None:
    film = png(_BLACK[0, 0])
    bad, good = await asyncio.gather(
        asked(runtime, files(film, b"text", film)),
        asked(runtime, files(film, film)),
        return_exceptions=True,
    )
    assert isinstance(bad, UnsupportedUpload)
    assert isinstance(good, InferResponse)
    assert all(queue.booked.total() == 0 for queue in runtime.predictor.batcher)


async def test_outputs_come_in_the_order_they_are_asked_for(runtime: Runtime) -> None:
    wanted = (RequestedOutput(name="cam"), RequestedOutput(name="logits"))
    answer = await asked(runtime, pixels(), outputs=wanted)
    assert [one.name for one in answer.outputs] == ["cam", "logits"]
    with pytest.raises(BadTensor, match="twice"):
        await asked(runtime, pixels(), outputs=(*wanted, wanted[0]))


@pytest.mark.parametrize(
    ("parameters", "caller_ms", "priority", "deadline_ms"),
    [
        ({}, None, Priority.ROUTINE, None),
        ({"priority": 1}, None, Priority.STAT, None),
        ({"priority": 2, "timeout": 5_000_000}, None, Priority.URGENT, 5000.0),
        ({"timeout": 5_000_000}, 3000.0, Priority.ROUTINE, 3000.0),
        ({"timeout": 5_000_000}, 9000.0, Priority.ROUTINE, 5000.0),
        ({"timeout": 0, "priority": 0}, None, Priority.ROUTINE, None),
        ({"timeout": 10**400, "priority": 10**400}, None, Priority.ROUTINE, 600_000.0),
    ],
)
async def test_priority_and_deadline_are_the_stricter_of_what_is_said(
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    parameters: dict[str, int],
    caller_ms: float | None,
    priority: Priority,
    deadline_ms: float | None,
) -> None:
    seen: list[Question] = []
    ask = Predictor.infer

    async def watch(self: Predictor, given: Any, question: Question) -> Any:
        seen.append(question)
        return await ask(self, given, question)

    monkeypatch.setattr(Predictor, "infer", watch)
    request = InferRequest(model="tiny", inputs=(pixels(),), parameters=parameters)
    caller = Caller(client="10.0.0.1", deadline_ms=caller_ms)
    await infer(runtime.predictor, request, caller, Telemetry())
    (question,) = seen
    assert (question.priority, question.deadline_ms, question.client) == (
        priority,
        deadline_ms,
        "10.0.0.1",
    )


async def test_an_answer_names_the_package_that_made_it_though_it_was_loaded_anew(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await asked(runtime, files(png(_BLACK[0, 0])), version="1.0.0")
    write_tiny_package(tmp_path / "tiny", bias=7.0)
    look, loads = Predictor.look, 0

    async def meanwhile(self: Predictor, *args: Any, **more: Any) -> Any:
        nonlocal loads
        if not loads:
            loads += 1
            await runtime.load("tiny")
        return await look(self, *args, **more)

    monkeypatch.setattr(Predictor, "look", meanwhile)
    after = await asked(runtime, files(png(_BLACK[0, 0])), version="1.0.0")
    assert (first_logit(before), first_logit(after)) == (0.0, 7.0)
    assert (
        after.parameters["digest"]
        == model_of(runtime.predictor.repository, "tiny", "1.0.0").package.digest
    )
    assert after.parameters["digest"] != before.parameters["digest"]


async def test_who_asks_for_any_version_gets_another_when_the_newest_goes(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Predictor.look

    async def meanwhile(self: Predictor, *args: Any, **more: Any) -> Any:
        if any(one.manifest.version == "1.10.0" for one in self.repository):
            await runtime.unload("tiny", "1.10.0")
        return await look(self, *args, **more)

    monkeypatch.setattr(Predictor, "look", meanwhile)
    answer = await asked(runtime, files(png(_BLACK[0, 0]), png(_BLACK[0, 0])))
    assert (answer.version, first_logit(answer)) == ("1009000", 2.0)
    with pytest.raises(ModelNotFound, match="Request for unknown model"):
        await asked(runtime, files(png(_BLACK[0, 0])), version="1.10.0")


async def test_pixels_that_are_seen_again_give_the_same_to_the_bit_in_any_company(
    runtime: Runtime,
) -> None:
    rng = np.random.default_rng(4)
    mine = rng.integers(0, 256, (1, 1, SIDE, SIDE), np.uint8)
    alone = await asked(runtime, pixels(mine))
    crowd = [pixels(rng.integers(0, 256, (n, 1, SIDE, SIDE), np.uint8)) for n in (3, 7, 2)]
    _, together, *_ = await asyncio.gather(
        asked(runtime, crowd[0]), asked(runtime, pixels(mine)),
        asked(runtime, crowd[1]), asked(runtime, crowd[2]),
    )  # fmt: skip
    assert [one.raw() for one in together.outputs] == [one.raw() for one in alone.outputs]


@given(st.lists(st.tuples(*[st.integers(0, 999)] * 3), unique=True, min_size=2, max_size=2))
def test_versions_on_the_wire_are_whole_numbers_and_no_two_are_alike(
    versions: list[tuple[int, int, int]],
) -> None:
    told = [wire_version(".".join(map(str, version))) for version in versions]
    assert all(one.isdigit() for one in told)
    # A major version of a million would be needed to meet 1.0.1.
    assert told[0] != told[1]
