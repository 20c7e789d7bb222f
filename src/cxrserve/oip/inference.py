"""One request of the Open Inference Protocol, whichever wire it came over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve.batching.batcher import digest_of
from cxrserve.batching.line import Priority
from cxrserve.batching.model_queue import Inference
from cxrserve.engines.engine import Masks, Outputs
from cxrserve.errors import BadTensor, CxrError, ModelNotFound
from cxrserve.findings.interpret import find
from cxrserve.models.repository import LoadedModel, ModelRepository
from cxrserve.observability.telemetry import Telemetry
from cxrserve.oip import interface
from cxrserve.oip.interface import IMAGE, MOST_IMAGES, PIXELS, PROBABILITIES, Port, wire_version
from cxrserve.oip.messages import (
    InferRequest,
    InferResponse,
    Parameters,
    RequestedOutput,
    flag,
    whole,
)
from cxrserve.oip.tensors import BYTES, Tensor
from cxrserve.predictor import Predictor, Question
from cxrserve.reporting.reading import Reading, model_used

Given = Outputs | Masks
# Triton counts 1 as the highest, 0 as the default.
_PRIORITIES = {0: Priority.ROUTINE, 1: Priority.STAT, 2: Priority.URGENT}
# As long as REST's deadline_ms may be.
_LONGEST_TIMEOUT_US = 600_000_000
# Names are quoted in errors, which gRPC sends in headers of a few KiB.
_SHOWN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks; `deadline_ms` is what the wire says, where it says one."""

    client: str = ""
    deadline_ms: float | None = None


async def infer(
    predictor: Predictor, request: InferRequest, caller: Caller, telemetry: Telemetry
) -> InferResponse:
    """Answer one request.

    Raises:
        ModelNotFound, BadTensor: it does not fit what is loaded here.
        CxrError: as `Predictor.predict`; the first image that cannot be read fails the request.
    """
    repository = predictor.repository
    key = _key_of(request) if repository.rollout else b""
    model = model_of(repository, request.model, request.version, key)
    asked = _asked_outputs(model, request)
    given = _the_input(model, request)
    question = _question(model, request.parameters, caller)
    if given.name == PIXELS:
        assert isinstance(given.data, np.ndarray)
        ran: Sequence[Inference | Reading] = await predictor.infer(given.data, question)  # type: ignore[arg-type]
    else:
        assert isinstance(given.data, list)
        read = await _of_files(predictor, model, given.data, question, telemetry)
        if read is None:
            return await infer(predictor, request, caller, telemetry)
        ran = read
    outputs = [one.outputs for one in ran]
    used = model_used(model, ", ".join(sorted({one.engine for one in ran})))
    return InferResponse(
        model=model.manifest.name,
        version=wire_version(model.manifest.version),
        id=request.id,
        parameters={
            "version": model.manifest.version,
            "digest": used.digest,
            "engine": used.engine,
            "preprocessing": used.preprocessing,
        },
        outputs=tuple(_output(model, port, wanted, outputs) for port, wanted in asked),
    )


def priority_of(parameters: Parameters) -> Priority:
    """The class that `priority` asks for: 1 is the highest, as Triton counts.

    Raises:
        BadTensor: it is no whole number.
    """
    return _PRIORITIES.get(whole(parameters, "priority"), Priority.ROUTINE)


def model_of(
    repository: ModelRepository, name: str, version: str = "", key: bytes = b""
) -> LoadedModel:
    """The model of this name, and of this version if one is said: the package's, or the wire's.

    Args:
        key: of what is asked about; it says whether a canary answers.

    Raises:
        ModelNotFound: it is not loaded, in the words that Triton's clients look for.
    """
    for model in repository:
        manifest = model.manifest
        if version and manifest.name == name and wire_version(manifest.version) == version:
            return model
    try:
        return repository.get(name, version) if version else repository.chosen(name, key)
    except ModelNotFound as error:
        wanted = f"'{name[:_SHOWN]}'" + (f" version {version[:_SHOWN]}" if version else "")
        raise ModelNotFound(
            f"Request for unknown model: {wanted} is not found", advice=error.advice
        ) from None


def _key_of(request: InferRequest) -> bytes:
    """Of its first image: the same as over other protocols where that is a file."""
    given = next((one.data for one in request.inputs), None)
    if isinstance(given, np.ndarray):
        return digest_of("", np.ascontiguousarray(given).data.cast("B")) if given.size else b""
    return digest_of("", given[0]) if given else b""


async def _of_files(
    predictor: Predictor,
    model: LoadedModel,
    files: Sequence[bytes],
    question: Question,
    telemetry: Telemetry,
) -> list[Reading] | None:
    """None where the model was unloaded, or loaded anew, before all files were let in."""

    async def one(place: int, data: bytes) -> Reading:
        try:
            film = await predictor.look(data, question)
        except CxrError as error:
            if len(files) > 1:
                error.detail = f"image {place} of {len(files)}: {error.detail}"
            raise
        (reading,) = film.readings
        telemetry.saw(film.image)
        return reading

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(place, data)) for place, data in enumerate(files)]
    except ExceptionGroup as failures:
        if isinstance(failures.exceptions[0], ModelNotFound):
            return None
        raise failures.exceptions[0] from None
    readings = [task.result() for task in tasks]
    if any(reading.model is not model for reading in readings):
        return None
    return readings


def _question(model: LoadedModel, parameters: Parameters, caller: Caller) -> Question:
    """`priority` (1 is the highest) and `timeout` (µs), as Triton has them, and `force`."""
    timeout_us = min(whole(parameters, "timeout"), _LONGEST_TIMEOUT_US)
    limits = (caller.deadline_ms, timeout_us / 1e3)
    return Question(
        models=(model.full_name,),
        priority=priority_of(parameters),
        deadline_ms=min((limit for limit in limits if limit), default=None),
        force=flag(parameters, "force"),
        client=caller.client,
    )


def _the_input(model: LoadedModel, request: InferRequest) -> Tensor:
    ports = {port.name: port for port in interface.inputs_of(model)}
    for tensor in request.inputs:
        if tensor.name not in ports:
            raise BadTensor(
                f"unexpected inference input '{tensor.name[:_SHOWN]}' for model '{_name(request)}'",
                advice=f"give one of: {', '.join(ports)}",
            )
    if len(request.inputs) != 1:
        raise BadTensor(
            f"expected 1 inputs but got {len(request.inputs)} inputs for model '{_name(request)}'",
            advice=f"give one of: {', '.join(ports)}",
        )
    (given,) = request.inputs
    port = ports[given.name]
    if given.datatype != port.datatype:
        raise BadTensor(
            f"inference input '{port.name}' data-type is '{given.datatype}', but model "
            f"'{_name(request)}' expects '{port.datatype}'"
        )
    # A list of files is a list of files, with or without the protocol's second dimension.
    flat_files = port.name == IMAGE and len(given.shape) == 1
    if (given.shape[1:] != port.dims and not flat_files) or not given.shape or given.shape[0] < 1:
        raise BadTensor(
            f"unexpected shape for input '{port.name}' for model '{_name(request)}'. "
            f"Expected {_text(port.shape)}, got {_text(given.shape)}"
        )
    if given.shape[0] > MOST_IMAGES:
        raise BadTensor(
            f"inference request batch-size must be <= {MOST_IMAGES} for '{_name(request)}', "
            f"got {given.shape[0]}",
            advice="send several requests; they are batched here",
        )
    return given


def _asked_outputs(model: LoadedModel, request: InferRequest) -> list[tuple[Port, RequestedOutput]]:
    ports = {port.name: port for port in interface.outputs_of(model)}
    wanted = request.outputs or tuple(RequestedOutput(name=name) for name in ports)
    if len({output.name for output in wanted}) < len(wanted):
        raise BadTensor(f"an output of model '{_name(request)}' is requested twice")
    for output in wanted:
        if output.name not in ports:
            raise BadTensor(
                f"unexpected inference output '{output.name[:_SHOWN]}' "
                f"for model '{_name(request)}'",
                advice=f"ask for: {', '.join(ports)}",
            )
        if output.classes and len(ports[output.name].dims) != 1:
            raise BadTensor(f"output '{output.name}' has no classes to choose from")
    return [(ports[output.name], output) for output in wanted]


def _output(
    model: LoadedModel, port: Port, wanted: RequestedOutput, outputs: Sequence[Given]
) -> Tensor:
    if port.name == PROBABILITIES:
        values = np.stack([_probabilities(model, one) for one in outputs])
    else:
        values = np.concatenate([getattr(one, port.name) for one in outputs])
    if not wanted.classes:
        return Tensor(port.name, port.datatype, values.shape, values)
    classes = min(wanted.classes, len(port.labels))
    texts = [text for row in values for text in _highest(row, port.labels, classes)]
    return Tensor(port.name, BYTES, (len(values), classes), texts)


def _probabilities(model: LoadedModel, outputs: Given) -> NDArray[np.float32]:
    """As REST gives them, to the bit; not a number for a label that nothing trained."""
    assert isinstance(outputs, Outputs)
    found = find(model.manifest, outputs.logits[0], None)
    return np.array(
        [np.nan if one.probability is None else one.probability for one in found], np.float32
    )


def _highest(row: NDArray[np.float32], labels: Sequence[str], count: int) -> list[bytes]:
    """`value:index:label`, the highest first (Triton's classification extension)."""
    order = np.argsort(-np.nan_to_num(row, nan=-np.inf), kind="stable")[:count]
    return [f"{row[place]:f}:{place}:{labels[place]}".encode() for place in order]


def _name(request: InferRequest) -> str:
    return request.model[:_SHOWN]


def _text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(str(size) for size in shape)}]"
