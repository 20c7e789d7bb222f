"""What asking about an image has in common: options, admission, the upload, who hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Literal, TypeVar

from fastapi import Depends, Query, Request
from starlette.exceptions import HTTPException

from cxrserve.api.uploads import Upload, read_upload
from cxrserve.batching.admission import Admission
from cxrserve.batching.line import Priority
from cxrserve.errors import UnknownOption
from cxrserve.observability.record import current
from cxrserve.predictor import Question
from cxrserve.radiograph.limits import Limits

# What nginx logs for it; nobody is there to read the answer.
CALLER_GONE = 499

Given = TypeVar("Given")


async def question_of(
    request: Request,
    *,
    priority: Annotated[
        str, Query(description="stat, urgent or routine", examples=["routine"])
    ] = "routine",
    deadline_ms: Annotated[
        float | None, Query(gt=0, le=600_000, description="milliseconds for the answer")
    ] = None,
    operating_point: Annotated[
        str | None, Query(description="set of thresholds", examples=["balanced"])
    ] = None,
    force: Annotated[bool, Query(description="answer even what the gate refuses")] = False,
    augment: Annotated[
        Literal["none", "mirror"],
        Query(description="mirror: classifiers read the mirror image too; the mean is answered"),
    ] = "none",
) -> Question:
    """The options that every question about an image may carry."""
    return Question(
        priority=_priority(priority),
        deadline_ms=deadline_ms,
        operating_point=operating_point,
        force=force,
        augment=None if augment == "none" else augment,
        client=request.client.host if request.client else "",
    )


async def reading_of(
    *,
    model: Annotated[
        list[str] | None,
        Query(description="model to ask, `name` or `name@version`; repeatable"),
    ] = None,
    explain: Annotated[
        bool, Query(description="give heat maps, boxes of positive findings, masks")
    ] = False,
    options: Annotated[Question, Depends(question_of)],
) -> Question:
    """The options of who wants images read."""
    return replace(options, models=tuple(model or ()), explain=explain)


async def ask(
    request: Request,
    admission: Admission,
    limits: Limits,
    question: Question,
    work: Callable[[Upload], Awaitable[Given]],
) -> Given:
    """Admit a request, read its upload and do the work; nobody computes for the absent."""
    current().of_class(question.priority)
    with admission.enter(question.priority) as admitted:
        upload = await read_upload(request, limits, admitted)
        return await unless_gone(request, work(upload))


async def unless_gone(request: Request, work: Awaitable[Given]) -> Given:
    """Await `work`, and cancel it when the caller hangs up."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HTTPException(CALLER_GONE)
        return task.result()
    finally:
        for one in (task, watch):
            one.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _priority(name: str) -> Priority:
    try:
        return Priority[name.upper()]
    except KeyError:
        choices = ", ".join(priority.name.lower() for priority in Priority)
        raise UnknownOption(
            f"there is no priority {name[:32]!r}",
            advice=f"choose one of: {choices}",
            option="priority",
        ) from None
