"""The use case: decode → check → prepare → infer → interpret. Every protocol calls this."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrserve import answer as answers
from cxrserve.asked import (
    Asked,
    asked_as_well,
    asked_models,
    lung_outliner,
    model_that_explains,
)
from cxrserve.batching.batcher import Asking, Batcher, Booking, digest_of
from cxrserve.batching.line import Priority
from cxrserve.batching.model_queue import Inference
from cxrserve.engines.engine import Outputs
from cxrserve.errors import DeadlineExceeded
from cxrserve.film import Film, results_of
from cxrserve.findings.mirror import mean_of, mirrored
from cxrserve.models.repository import LoadedModel, ModelRepository
from cxrserve.observability.record import current
from cxrserve.preparation import Preparation, Prepared
from cxrserve.reporting.explanation import explained, explanation_of, picture_of
from cxrserve.reporting.reading import Reading
from cxrserve.shadow import Shadows

Clock = Callable[[], float]


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
        client: who asks; clients of one class get the same share of the processors.
    """

    models: tuple[str, ...] = ()
    priority: Priority = Priority.ROUTINE
    deadline_ms: float | None = None
    operating_point: str | None = None
    explain: bool = False
    force: bool = False
    augment: Literal["mirror"] | None = None
    client: str = ""


class Explained(NamedTuple):
    """One label explained: in figures, and as a PNG where one was asked for."""

    explanation: answers.Explanation
    picture: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """A question that was let in: who is asked, and by when.

    `everyone` is `asked`, and the `outliner` where boxes may need one; `shadows` are models that
    are asked, each with the version that is asked as well and only compared.
    """

    asked: tuple[Asked, ...]
    everyone: tuple[Asked, ...]
    outliner: Asked | None
    shadows: tuple[tuple[Asked, Asked], ...]
    question: Question
    asking: Asking
    booking: Booking
    started: float


class Predictor:
    """Answers questions about radiographs.

    Args:
        repository: the loaded models.
        default_models: asked when a question names none.
        preparation: reads and checks images.
        batcher: lets questions in, decodes and runs networks; neither ever on the event loop.
        clock: seconds, monotonic.
        default_deadline_ms: where a question names none.
        shadows: asks new versions as well, where the repository's rollout says so.
    """

    def __init__(
        self,
        *,
        repository: ModelRepository,
        default_models: Sequence[str],
        preparation: Preparation,
        batcher: Batcher,
        clock: Clock,
        default_deadline_ms: float,
        shadows: Shadows,
    ) -> None:
        self.repository = repository
        self._default_models = tuple(default_models)
        self._preparation = preparation
        self.batcher, self.clock = batcher, clock
        self._default_deadline_ms = default_deadline_ms
        self.shadows = shadows

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
        async with self._let_in(question, data) as visit:
            film = await self._look(data, content_type, visit, picture=False)
            heavy = question.explain or any(one.model.segments for one in film.readings)
            began = self.clock()
            if heavy:
                write = partial(results_of, film, explain=question.explain)
                results = await self.batcher.decode(write, visit.asking)
            else:
                results = results_of(film, explain=False)
            current().took("interpret", began, self.clock() - began)
        return answers.Answer(
            id=request_id,
            image=film.image,
            results=results,
            timings_ms=film.timings_ms(self.clock()),
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
        names = question.models or self._default_models
        model = model_that_explains(self.repository, names, label, self._key_of(data))
        question = replace(question, models=(model,), explain=True)
        async with self._let_in(question, data) as visit:
            film = await self._look(data, content_type, visit, picture=picture)

            def write() -> Explained:
                one = explained(film.readings[0], label)
                drawn = None if film.shown is None else picture_of(one, film.radiograph, film.shown)
                given = explanation_of(
                    one,
                    film.radiograph,
                    request_id=request_id,
                    image=film.image,
                    lungs=film.lungs(),
                    timings_ms=film.timings_ms(self.clock()),
                )
                return Explained(given, drawn)

            began = self.clock()
            given = await self.batcher.decode(write, visit.asking)
            current().took("interpret", began, self.clock() - began)
            return given

    async def look(
        self, data: bytes, question: Question, *, content_type: str | None = None
    ) -> Film:
        """What the networks give for one image, not interpreted: for protocols that carry tensors.

        Args:
            data, question, content_type: as for `predict`.

        Raises:
            CxrError: as for `predict`.
        """
        async with self._let_in(question, data) as visit:
            return await self._look(data, content_type, visit, picture=False)

    async def infer(self, pixels: NDArray[np.uint8], question: Question) -> list[Inference]:
        """Run images that their sender has prepared; no gate sees them.

        Args:
            pixels: uint8 `[N, 1, side, side]`, 1 ≤ N, for the one model that is asked.
            question: what is asked.

        Returns:
            What the network gave for each, in order.

        Raises:
            CxrError: of the first that fails; the others are dropped then.
        """
        sent = np.ascontiguousarray(pixels).data.cast("B")
        async with self._let_in(question, sent, decoded=len(pixels)) as visit:
            (asked,) = visit.asked
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._run(asked.model, one, visit)) for (one,) in pixels]
        return [task.result() for task in tasks]

    @contextlib.asynccontextmanager
    async def _let_in(
        self, question: Question, data: bytes | memoryview, *, decoded: int = 0
    ) -> AsyncIterator[_Visit]:
        """Let a question in, or refuse it before anything is computed; end it at its deadline.

        `decoded`: the images that come as pixels; 0: one that is still a file.
        """
        started = self.clock()
        names, key = question.models or self._default_models, self._key_of(data)
        asked = asked_models(self.repository, names, question.operating_point, key)
        current().taken_up(question.priority, [one.model.full_name for one in asked])
        outliner = lung_outliner(self.repository, asked) if question.explain else None
        everyone = asked if outliner is None or outliner in asked else (*asked, outliner)
        deadline_ms = question.deadline_ms or self._default_deadline_ms
        asking = Asking(
            priority=question.priority,
            deadline=started + deadline_ms / 1e3,
            client=question.client,
            images=decoded or 1,
            decoded=decoded > 0,
            digest=partial(digest_of, question.client, data),
        )
        try:
            with self.batcher.enter([one.model.engine for one in everyone], asking) as booking:
                async with asyncio.timeout(deadline_ms / 1e3):
                    yield _Visit(
                        asked=asked,
                        everyone=everyone,
                        outliner=outliner,
                        shadows=asked_as_well(self.repository, asked, key),
                        question=question,
                        asking=asking,
                        booking=booking,
                        started=started,
                    )
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"no answer within {deadline_ms:g} ms", advice="ask with a later deadline_ms"
            ) from error
        except ExceptionGroup as group:
            # One model's failure fails the question; the group only wraps it.
            raise group.exceptions[0] from None

    def _key_of(self, data: bytes | memoryview) -> bytes:
        """What decides which version answers: the same for the same file."""
        return digest_of("", data) if self.repository.rollout else b""

    async def _look(
        self, data: bytes, content_type: str | None, visit: _Visit, *, picture: bool
    ) -> Film:
        asked, everyone, question = visit.asked, visit.everyone, visit.question
        prepare = partial(
            self._preparation.prepare,
            data,
            content_type,
            [one.model for one in (*everyone, *(shadow for _, shadow in visit.shadows))],
            force=question.force,
            picture=picture,
        )
        asked_for = self.clock()
        prepared = await self.batcher.decode(prepare, visit.asking)
        record = current()
        record.took("decode_queue", asked_for, prepared.began - asked_for)
        record.took("decode", prepared.began, prepared.read_s)
        record.took("prepare", prepared.began + prepared.read_s, prepared.prepared_s)
        for one in everyone:
            spent = self.batcher.queue_of(one.model.engine).statistics
            spent.prepare_s += prepared.read_s + prepared.prepared_s
        decoded = self.clock()
        inferences = await self._infer(visit, prepared)
        readings = tuple(
            Reading(
                model=one.model,
                operating_point=one.operating_point,
                outputs=inference.outputs,
                engine=inference.engine,
                augment=None if one.model.segments else question.augment,
            )
            for one, inference in zip(everyone, inferences, strict=True)
        )
        for (one, shadow), pixels in zip(
            visit.shadows, prepared.inputs[len(everyone) :], strict=True
        ):
            if shadow.model in self.repository:
                self.shadows.ask(readings[everyone.index(one)], shadow, pixels)
        outliner = visit.outliner
        return Film(
            radiograph=prepared.radiograph,
            image=prepared.image,
            shown=prepared.shown,
            readings=readings[: len(asked)],
            outlined=readings[everyone.index(outliner)] if outliner else None,
            started=visit.started,
            decoded=decoded,
            queue_ms=max(inference.queue_ms for inference in inferences),
            inference_ms=max(inference.inference_ms for inference in inferences),
        )

    async def _infer(self, visit: _Visit, prepared: Prepared) -> list[Inference]:
        if len(visit.everyone) == 1:
            return [await self._run(visit.everyone[0].model, prepared.inputs[0], visit)]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._run(one.model, pixels, visit))
                for one, pixels in zip(visit.everyone, prepared.inputs, strict=False)
            ]
        return [task.result() for task in tasks]

    async def _run(self, model: LoadedModel, pixels: NDArray[np.uint8], visit: _Visit) -> Inference:
        async def submit(film: NDArray[np.uint8]) -> Inference:
            submitted = self.clock()
            given = await visit.booking.submit(model.engine, film)
            _note(given, submitted, model.full_name)
            return given

        # A mirrored film's right lung is its left one: masks are not averaged.
        if visit.question.augment != "mirror" or model.segments:
            return await submit(pixels[None])
        plain, mirror = await asyncio.gather(submit(pixels[None]), submit(mirrored(pixels[None])))
        assert isinstance(plain.outputs, Outputs)
        assert isinstance(mirror.outputs, Outputs)
        return Inference(
            mean_of(plain.outputs, mirror.outputs),
            max(plain.queue_ms, mirror.queue_ms),
            max(plain.inference_ms, mirror.inference_ms),
            ", ".join(sorted({plain.engine, mirror.engine})),
            max(plain.batch, mirror.batch),
        )


def _note(inference: Inference, submitted: float, model: str) -> None:
    record, waited_s = current(), inference.queue_ms / 1e3
    record.took("queue", submitted, waited_s, model=model, engine=inference.engine)
    record.took(
        "inference",
        submitted + waited_s,
        inference.inference_ms / 1e3,
        model=model,
        engine=inference.engine,
        batch=inference.batch,
    )
