"""What an export promises, asked of a real Triton."""

from __future__ import annotations

import queue
from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient as Client
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from cxrserve.engines.engine import Outputs
from cxrserve.engines.films import films
from cxrserve.engines.load import load_engine
from cxrserve.oip.interface import wire_version
from tests.triton import poisonous
from tests.triton.conftest import LARGEST, SERVED, package_of

pytestmark = pytest.mark.server

_BOUND = 1e-5
_DENSENET = "nih14-densenet121"


def _input(pixels: NDArray[np.uint8]) -> InferInput:
    given = InferInput("pixels", pixels.shape, "UINT8")
    given.set_data_from_numpy(pixels)
    return given


def _ask(client: Client, model: str, pixels: NDArray[np.uint8], **how: Any) -> Any:
    return client.infer(model, [_input(pixels)], **how)


class _Asked:
    """Requests in flight, and the order in which they were answered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._done: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._taken: list[tuple[str, Any]] = []
        self._count = 0

    def ask(self, name: str, model: str, pixels: NDArray[np.uint8], **how: Any) -> None:
        self._count += 1

        def done(result: Any, error: InferenceServerException | None) -> None:
            self._done.put((name, error or result))

        self._client.async_infer(model, [_input(pixels)], done, **how)

    def wait_for_one(self) -> None:
        """Until one is answered: the next one runs then, and the rest wait."""
        self._taken.append(self._done.get(timeout=60))

    def answers(self) -> list[tuple[str, Any]]:
        while len(self._taken) < self._count:
            self.wait_for_one()
        return self._taken


def _executions(client: Client, model: str) -> Counter[int]:
    stats = client.get_inference_statistics(model).model_stats[0]
    return Counter({one.batch_size: one.compute_infer.count for one in stats.batch_stats})


@pytest.mark.parametrize("images", [1, 3, LARGEST])
@pytest.mark.parametrize("name", SERVED)
def test_answers_are_those_of_the_local_engine(client: Client, name: str, images: int) -> None:
    package = package_of(name)
    pixels = films(images, package.manifest.input.side)
    engine = load_engine(package)
    expected = engine.run(pixels)
    wanted = (
        {"logits": expected.logits, "cam": expected.cam}
        if isinstance(expected, Outputs)
        else {"mask": expected.mask}
    )
    given = _ask(client, name, pixels)
    for output, numbers in wanted.items():
        np.testing.assert_allclose(given.as_numpy(output), numbers, rtol=0, atol=_BOUND)


@pytest.mark.parametrize("name", ["triage", _DENSENET])
def test_concurrent_requests_are_merged_and_each_gets_its_own_answer(
    client: Client, name: str
) -> None:
    package = package_of(name)
    pixels = films(24, package.manifest.input.side)
    engine = load_engine(package)
    before = _executions(client, name)
    asked = _Asked(client)
    for index in range(len(pixels)):
        asked.ask(str(index), name, pixels[index : index + 1])
    answers = asked.answers()
    for number, result in answers:
        expected = engine.run(pixels[int(number)][None])
        assert isinstance(expected, Outputs)
        np.testing.assert_allclose(result.as_numpy("logits"), expected.logits, rtol=0, atol=_BOUND)
        np.testing.assert_allclose(result.as_numpy("cam"), expected.cam, rtol=0, atol=_BOUND)
    ran = _executions(client, name) - before
    assert sum(size * count for size, count in ran.items()) == len(pixels)
    assert max(ran) > 1, ran


def test_a_stat_request_goes_before_the_routine_ones_that_wait(client: Client) -> None:
    pixels = films(LARGEST, 224)
    asked = _Asked(client)
    for index in range(8):
        asked.ask(f"routine {index}", _DENSENET, pixels, priority=3)
    asked.wait_for_one()
    asked.ask("stat", _DENSENET, pixels[:1], priority=1)
    order = [name for name, _ in asked.answers()]
    # One was answered before, one ran, and one may have been handed over already.
    assert order.index("stat") <= 3, order


def test_who_names_no_priority_is_routine(client: Client) -> None:
    pixels = films(LARGEST, 224)
    asked = _Asked(client)
    for index in range(6):
        asked.ask(f"unnamed {index}", _DENSENET, pixels)
    asked.wait_for_one()
    asked.ask("urgent", _DENSENET, pixels[:1], priority=2)
    order = [name for name, _ in asked.answers()]
    assert order.index("urgent") <= 3, order


def test_a_request_is_refused_once_its_own_timeout_has_passed_in_the_queue(
    client: Client,
) -> None:
    pixels = films(LARGEST, 224)
    asked = _Asked(client)
    for index in range(6):
        asked.ask(f"patient {index}", _DENSENET, pixels, timeout=20_000_000)
    asked.wait_for_one()
    asked.ask("hasty", _DENSENET, pixels[:1], timeout=1000)
    answers = dict(asked.answers())
    assert isinstance(answers["hasty"], InferenceServerException)
    assert "timeout" in str(answers["hasty"]).lower()
    assert not [name for name, one in answers.items() if name != "hasty" and _failed(one)]


def _failed(answer: Any) -> bool:
    return isinstance(answer, InferenceServerException)


def test_only_the_outputs_that_are_asked_for_come(client: Client) -> None:
    pixels = films(2, 128)
    given = _ask(client, "triage", pixels, outputs=[InferRequestedOutput("logits")])
    assert [one.name for one in given.get_response().outputs] == ["logits"]
    whole = _ask(client, "triage", pixels)
    np.testing.assert_allclose(
        given.as_numpy("logits"), whole.as_numpy("logits"), rtol=0, atol=_BOUND
    )


def test_a_poisonous_image_fails_alone(client: Client) -> None:
    asked = _Asked(client)
    for index in range(20):
        fails, spoils = index % 5 == 1, index % 5 == 3
        name = f"{'fails' if fails else 'spoils' if spoils else 'good'} {index}"
        asked.ask(name, "poisonous", poisonous.image(fails=fails, spoils=spoils))
    answers = asked.answers()
    assert max(_executions(client, "poisonous")) > 1
    for name, answer in answers:
        assert _failed(answer) is not name.startswith("good"), (name, answer)
        if name.startswith("fails"):
            assert "ONNX Runtime failed" in str(answer)
        if name.startswith("spoils"):
            assert "`logits` is not finite" in str(answer)


def test_a_poisonous_image_spoils_its_own_request_and_no_more(client: Client) -> None:
    mixed = np.concatenate([poisonous.image(), poisonous.image(spoils=True)])
    with pytest.raises(InferenceServerException, match="not finite"):
        _ask(client, "poisonous", mixed)
    assert np.isfinite(_ask(client, "poisonous", poisonous.image()).as_numpy("logits")).all()


@pytest.mark.parametrize("name", SERVED)
def test_the_server_tells_from_which_package_a_model_comes(client: Client, name: str) -> None:
    package = package_of(name)
    config = client.get_model_config(name).config
    assert config.parameters["digest"].string_value == package.digest
    version = wire_version(package.manifest.version)
    assert list(client.get_model_metadata(name).versions) == [version]
    assert client.is_model_ready(name, version)


def test_labels_come_from_the_package(client: Client) -> None:
    output = InferRequestedOutput("logits", class_count=3)
    given = _ask(client, "triage", films(1, 128), outputs=[output]).as_numpy("logits")
    labels = {one.decode().split(":")[2] for one in given.flatten()}
    assert labels == {label.name for label in package_of("triage").manifest.labels}
