"""`cxrserve.v1.Radiology`: the questions of REST, typed."""

# ruff: noqa: N802 - the names are the proto file's

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from cxrserve.api.envelope import is_safe_id, unforeseen
from cxrserve.api.grpc.answers import answer_message, explanation_message, problem_message
from cxrserve.api.grpc.callers import Context, caller_of
from cxrserve.api.grpc.envelope import request_id
from cxrserve.api.model_views import list_of
from cxrserve.batching.admission import Admission
from cxrserve.batching.line import Priority
from cxrserve.errors import BadRequest, CxrError, EmptyUpload
from cxrserve.observability.record import current
from cxrserve.observability.telemetry import Telemetry
from cxrserve.predictor import Question
from cxrserve.runtime import Runtime
from cxrserve.v1 import radiology_pb2 as pb
from cxrserve.v1 import radiology_pb2_grpc

_PRIORITIES = {
    pb.PRIORITY_UNSPECIFIED: Priority.ROUTINE,
    pb.PRIORITY_STAT: Priority.STAT,
    pb.PRIORITY_URGENT: Priority.URGENT,
    pb.PRIORITY_ROUTINE: Priority.ROUTINE,
}
_LONGEST_DEADLINE_MS = 600_000
# Images of one stream that are being answered; what comes after waits unread.
_MOST_AT_ONCE = 16


class Radiology(radiology_pb2_grpc.RadiologyServicer):
    """The typed service.

    Args:
        runtime: the service's models.
        admission, telemetry: shared with HTTP.
    """

    def __init__(self, runtime: Runtime, admission: Admission, telemetry: Telemetry) -> None:
        self._runtime, self._admission, self._telemetry = runtime, admission, telemetry

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.Answer:
        """See the proto file, as for all of these."""
        return await self._predict(request, context, request_id())

    async def PredictStream(
        self, request_iterator: AsyncIterator[pb.PredictRequest], context: Context
    ) -> AsyncIterator[pb.PredictStreamResponse]:
        done: asyncio.Queue[pb.PredictStreamResponse | None] = asyncio.Queue()
        room = asyncio.Semaphore(_MOST_AT_ONCE)

        async def one(request: pb.PredictRequest) -> None:
            await done.put(await self._one_of_stream(request, context))

        async def ask() -> None:
            async with asyncio.TaskGroup() as images:
                async for request in request_iterator:
                    await room.acquire()
                    images.create_task(one(request))
            await done.put(None)

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            while (answer := await done.get()) is not None:
                yield answer
                # Not sooner: answers that nobody fetches would pile up.
                room.release()

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        question = self._question(request.options, context)
        if request.model:
            question = _about(question, (request.model,))
        current().of_class(question.priority)
        with self._admission.enter(question.priority) as admitted:
            admitted.grow(len(request.image))
            self._check(request.image)
            given, picture = await self._runtime.predictor.explain(
                request.image,
                question,
                label=request.label,
                picture=request.picture,
                request_id=request_id(),
                content_type=request.content_type or None,
            )
        self._telemetry.answered(given)
        return pb.ExplainResponse(
            explanation=explanation_message(given), overlay_png=picture or b""
        )

    async def ListModels(self, request: Any, context: Context) -> pb.ListModelsResponse:
        told = list_of(self._runtime.predictor.repository)
        return pb.ListModelsResponse(
            models=[pb.Model(**one.model_dump()) for one in told.models],
            left_out=[pb.PackageLeftOut(**one.model_dump()) for one in told.left_out],
        )

    async def _one_of_stream(
        self, request: pb.PredictRequest, context: Context
    ) -> pb.PredictStreamResponse:
        answer_id = request.id if is_safe_id(request.id) else request_id()
        with self._telemetry.question(current().child(answer_id, "grpc")):
            try:
                answer = await self._predict(request, context, answer_id)
            except Exception as error:  # noqa: BLE001 - unforeseen, it does not end the stream
                known = error if isinstance(error, CxrError) else unforeseen(error, request_id())
                self._telemetry.refused(known)
                return pb.PredictStreamResponse(id=request.id, problem=problem_message(known))
            return pb.PredictStreamResponse(id=request.id, answer=answer)

    async def _predict(
        self, request: pb.PredictRequest, context: Context, answer_id: str
    ) -> pb.Answer:
        question = self._question(request.options, context)
        question = _about(question, tuple(request.models), explain=request.explain)
        current().of_class(question.priority)
        with self._admission.enter(question.priority) as admitted:
            admitted.grow(len(request.image))
            self._check(request.image)
            answer = await self._runtime.predictor.predict(
                request.image,
                question,
                request_id=answer_id,
                content_type=request.content_type or None,
            )
        self._telemetry.answered(answer)
        if request.explain:  # maps and masks take milliseconds to write
            return await asyncio.to_thread(answer_message, answer)
        return answer_message(answer)

    def _check(self, image: bytes) -> None:
        if not image:
            raise EmptyUpload("the request has no image", advice="give a JPEG, PNG or DICOM file")
        self._runtime.settings.limits().check_upload(len(image))

    def _question(self, options: pb.Options, context: Context) -> Question:
        caller = caller_of(context)
        stated = [caller.deadline_ms] if caller.deadline_ms is not None else []
        if options.HasField("deadline_ms"):
            if not 0 < options.deadline_ms <= _LONGEST_DEADLINE_MS:
                raise BadRequest(f"deadline_ms must be within 0..{_LONGEST_DEADLINE_MS}")
            stated.append(options.deadline_ms)
        return Question(
            priority=_PRIORITIES.get(options.priority, Priority.ROUTINE),
            deadline_ms=min(stated, default=None),
            operating_point=options.operating_point or None,
            force=options.force,
            augment="mirror" if options.augment == pb.AUGMENT_MIRROR else None,
            client=caller.client,
        )


def _about(question: Question, models: tuple[str, ...], *, explain: bool = False) -> Question:
    return replace(question, models=models, explain=explain)
