"""The use case: decode → check → prepare → infer → interpret. Every protocol calls this."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrserve import answer as answers
from cxrserve.asked import Asked, asked_models, lung_outliner, model_that_explains
from cxrserve.batching.queue import Inference, InferenceQueue, Priority
from cxrserve.engines.engine import Outputs
from cxrserve.errors import DeadlineExceeded, NotReadableAsChest
from cxrserve.findings.mirror import mean_of, mirrored
from cxrserve.models.preprocess import fit
from cxrserve.models.repository import LoadedModel, ModelRepository
from cxrserve.radiograph.gate import QualityGate, Remark
from cxrserve.radiograph.radiograph import Radiograph
from cxrserve.reporting.explanation import explained, explanation_of, picture_of
from cxrserve.reporting.image import image_seen
from cxrserve.reporting.reading import LungField, Reading, lung_field
from cxrserve.reporting.result import result_of

Clock = Callable[[], float]
ReadRadiograph = Callable[[bytes, str | None], Radiograph]
Given = TypeVar("Given")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a caller asks about one image.

    Attributes:
        models: names, or `name@version`; empty for the default set.
        priority: who goes first.
        deadline_ms: time for the answer, from when the question was taken up; None for the default.
        operating_point: threshold set; None for each model's default.
        explain: give the heat map of each finding, boxes of the positive ones, and masks.
        force: answer even where the gate refuses.
        augment: `mirror` to let classifiers read the mirror image too, and answer the mean.
    """

    models: tuple[str, ...] = ()
    priority: Priority = Priority.ROUTINE
    deadline_ms: float | None = None
    operating_point: str | None = None
    explain: bool = False
    force: bool = False
    augment: Literal["mirror"] | None = None


class Explained(NamedTuple):
    """One label explained: in figures, and as a PNG where one was asked for."""

    explanation: answers.Explanation
    picture: bytes | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    radiograph: Radiograph
    remarks: tuple[Remark, ...]
    inputs: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Film:
    """An image that was read by all models asked.

    `outlined` is the lung outliner's reading, where boxes may need one.
    """

    radiograph: Radiograph
    image: answers.ImageSeen
    readings: tuple[Reading, ...]
    outlined: Reading | None
    started: float
    decoded: float
    queue_ms: float
    inference_ms: float

    def lungs(self) -> LungField | None:
        return lung_field(self.outlined, self.radiograph) if self.outlined else None


class Predictor:
    """Answers questions about radiographs.

    Args:
        repository: the loaded models.
        default_models: asked when a question names none.
        read: bytes and content type to radiograph, with limits and DICOM reader bound in.
        gate: the quality gate; None answers everything.
        queue: runs networks.
        decoders: threads for decoding and drawing; neither ever happens on the event loop.
        clock: seconds, monotonic.
        default_deadline_ms: where a question names none.
    """

    def __init__(
        self,
        *,
        repository: ModelRepository,
        default_models: Sequence[str],
        read: ReadRadiograph,
        gate: QualityGate | None,
        queue: InferenceQueue,
        decoders: Executor,
        clock: Clock,
        default_deadline_ms: float,
    ) -> None:
        self.repository = repository
        self._default_models = tuple(default_models)
        self._read, self._gate, self._queue = read, gate, queue
        self._decoders, self._clock = decoders, clock
        self._default_deadline_ms = default_deadline_ms

    async def predict(
        self, data: bytes, question: Question, *, request_id: str, content_type: str | None = None
    ) -> answers.Answer:
        """Answer one image.

        Args:
            data: the uploaded file.
            question: what is asked.
            request_id: comes back as the answer's `id`.
            content_type: what the sender called the file.

        Raises:
            CxrError: every kind but `BrokenPackage`; see `errors.py`.
        """
        async with self._within(question):
            film = await self._look(data, content_type, question)
            heavy = question.explain or any(one.model.segments for one in film.readings)
            write = self._in_thread if heavy else _at_once
            results = await write(lambda: _results(film, explain=question.explain))
        return answers.Answer(
            id=request_id, image=film.image, results=results, timings_ms=self._timings(film)
        )

    async def explain(
        self,
        data: bytes,
        question: Question,
        *,
        label: str,
        picture: bool,
        request_id: str,
        content_type: str | None = None,
    ) -> Explained:
        """Explain one label of one model: the one that is named, or the first default that has it.

        Args:
            data, request_id, content_type: as for `predict`.
            question: what is asked.
            label: which of the model's labels.
            picture: draw the PNG too.

        Raises:
            LabelNotFound: no model asked gives a class map for this label.
            CxrError: as for `predict`.
        """
        model = model_that_explains(self.repository, question.models or self._default_models, label)
        question = replace(question, models=(model,), explain=True)
        async with self._within(question):
            film = await self._look(data, content_type, question)

            def write() -> Explained:
                one = explained(film.readings[0], label)
                drawn = picture_of(one, film.radiograph) if picture else None
                given = explanation_of(
                    one,
                    film.radiograph,
                    request_id=request_id,
                    image=film.image,
                    lungs=film.lungs(),
                    timings_ms=self._timings(film),
                )
                return Explained(given, drawn)

            return await self._in_thread(write)

    @contextlib.asynccontextmanager
    async def _within(self, question: Question) -> AsyncIterator[None]:
        deadline_ms = question.deadline_ms or self._default_deadline_ms
        try:
            async with asyncio.timeout(deadline_ms / 1e3):
                yield
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"no answer within {deadline_ms:g} ms", advice="ask with a later deadline_ms"
            ) from error
        except ExceptionGroup as group:
            # One model's failure fails the question; the group only wraps it.
            raise group.exceptions[0] from None

    async def _look(self, data: bytes, content_type: str | None, question: Question) -> _Film:
        started = self._clock()
        asked = asked_models(
            self.repository, question.models or self._default_models, question.operating_point
        )
        outliner = lung_outliner(self.repository, asked) if question.explain else None
        everyone = asked if outliner is None or outliner in asked else (*asked, outliner)
        prepared = await self._in_thread(
            lambda: self._prepare(data, content_type, everyone, force=question.force)
        )
        decoded = self._clock()
        deadline = started + (question.deadline_ms or self._default_deadline_ms) / 1e3
        inferences = await self._infer(everyone, prepared, question, deadline)
        readings = tuple(
            Reading(
                model=one.model,
                operating_point=one.operating_point,
                outputs=inference.outputs,
                augment=None if one.model.segments else question.augment,
            )
            for one, inference in zip(everyone, inferences, strict=True)
        )
        return _Film(
            radiograph=prepared.radiograph,
            image=image_seen(prepared.radiograph, prepared.remarks),
            readings=readings[: len(asked)],
            outlined=readings[everyone.index(outliner)] if outliner else None,
            started=started,
            decoded=decoded,
            queue_ms=max(inference.queue_ms for inference in inferences),
            inference_ms=max(inference.inference_ms for inference in inferences),
        )

    def _prepare(
        self, data: bytes, content_type: str | None, asked: tuple[Asked, ...], *, force: bool
    ) -> _Prepared:
        radiograph = self._read(data, content_type)
        remarks = self._gate.inspect(radiograph) if self._gate else ()
        refusing = [remark for remark in remarks if remark.refuses]
        if refusing and not force:
            raise NotReadableAsChest(
                "; ".join(remark.detail for remark in refusing),
                reasons=[remark.code for remark in refusing],
                advice="send a frontal chest radiograph, or ask with force=true",
                warnings=[remark.code for remark in remarks if not remark.refuses],
            )
        inputs = tuple(fit(radiograph.pixels, one.model.manifest.input) for one in asked)
        return _Prepared(radiograph, remarks, inputs)

    async def _infer(
        self, asked: tuple[Asked, ...], prepared: _Prepared, question: Question, deadline: float
    ) -> list[Inference]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._run(one.model, pixels[None], question, deadline))
                for one, pixels in zip(asked, prepared.inputs, strict=True)
            ]
        return [task.result() for task in tasks]

    async def _run(
        self, model: LoadedModel, pixels: NDArray[np.uint8], question: Question, deadline: float
    ) -> Inference:
        images = [pixels]
        # A mirrored film's right lung is its left one: masks are not averaged.
        if question.augment == "mirror" and not model.segments:
            images.append(mirrored(pixels))
        plain, *rest = await asyncio.gather(
            *(
                self._queue.submit(
                    model.engine, image, priority=question.priority, deadline=deadline
                )
                for image in images
            )
        )
        for mirror in rest:
            assert isinstance(plain.outputs, Outputs)
            assert isinstance(mirror.outputs, Outputs)
            plain = Inference(
                mean_of(plain.outputs, mirror.outputs),
                max(plain.queue_ms, mirror.queue_ms),
                max(plain.inference_ms, mirror.inference_ms),
            )
        return plain

    async def _in_thread(self, work: Callable[[], Given]) -> Given:
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)

    def _timings(self, film: _Film) -> answers.Timings:
        return answers.Timings(
            decode=round((film.decoded - film.started) * 1e3, 3),
            queue=round(film.queue_ms, 3),
            inference=round(film.inference_ms, 3),
            total=round((self._clock() - film.started) * 1e3, 3),
        )


async def _at_once(work: Callable[[], Given]) -> Given:
    return work()


def _results(film: _Film, *, explain: bool) -> tuple[answers.Result, ...]:
    lungs = film.lungs()
    return tuple(
        result_of(reading, film.radiograph, explain=explain, lungs=lungs)
        for reading in film.readings
    )
