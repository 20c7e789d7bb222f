"""The use case: decode → check → prepare → infer → interpret. Every protocol calls this."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve import answer as answers
from cxrserve.batching.queue import Inference, InferenceQueue, Priority
from cxrserve.errors import DeadlineExceeded, NotReadableAsChest
from cxrserve.findings.interpret import Finding, check_map, choose_operating_point, find
from cxrserve.models.preprocess import fit
from cxrserve.models.repository import LoadedModel, ModelRepository
from cxrserve.radiograph.gate import QualityGate, Remark
from cxrserve.radiograph.radiograph import Facts, Radiograph

Clock = Callable[[], float]
ReadRadiograph = Callable[[bytes, str | None], Radiograph]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a caller asks about one image.

    Attributes:
        models: names, or `name@version`; empty for the default set.
        priority: who goes first.
        deadline_ms: time for the answer, from when the question was taken up; None for the default.
        operating_point: threshold set; None for each model's default.
        explain: give the heat map of each finding.
        force: answer even where the gate refuses.
    """

    models: tuple[str, ...] = ()
    priority: Priority = Priority.ROUTINE
    deadline_ms: float | None = None
    operating_point: str | None = None
    explain: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class _Prepared:
    radiograph: Radiograph
    remarks: tuple[Remark, ...]
    inputs: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A model, and the operating point it is asked at."""

    model: LoadedModel
    operating_point: str | None


class Predictor:
    """Answers questions about radiographs.

    Args:
        repository: the loaded models.
        default_models: asked when a question names none.
        read: bytes and content type to radiograph, with limits and DICOM reader bound in.
        gate: the quality gate; None answers everything.
        queue: runs networks.
        decoders: threads for decoding; decoding never happens on the event loop.
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
        started = self._clock()
        asked = self._asked(question)
        deadline_ms = question.deadline_ms or self._default_deadline_ms
        async with _deadline(deadline_ms):
            prepared = await asyncio.get_running_loop().run_in_executor(
                self._decoders, self._prepare, data, content_type, asked, question.force
            )
            decoded = self._clock()
            inferences = await self._infer(
                asked, prepared, question.priority, started + deadline_ms / 1e3
            )
        return answers.Answer(
            id=request_id,
            image=_image_seen(prepared),
            results=tuple(
                _result(one, inference, prepared.radiograph.facts, explain=question.explain)
                for one, inference in zip(asked, inferences, strict=True)
            ),
            timings_ms=answers.Timings(
                decode=round((decoded - started) * 1e3, 3),
                queue=round(max(inference.queue_ms for inference in inferences), 3),
                inference=round(max(inference.inference_ms for inference in inferences), 3),
                total=round((self._clock() - started) * 1e3, 3),
            ),
        )

    def _asked(self, question: Question) -> tuple[_Asked, ...]:
        names = dict.fromkeys(question.models or self._default_models)
        models = [self.repository.get(name) for name in names]
        return tuple(
            _Asked(model, choose_operating_point(model.manifest, question.operating_point))
            for model in models
        )

    def _prepare(
        self, data: bytes, content_type: str | None, asked: tuple[_Asked, ...], force: bool
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
        self,
        asked: tuple[_Asked, ...],
        prepared: _Prepared,
        priority: Priority,
        deadline: float,
    ) -> list[Inference]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    self._queue.submit(
                        one.model.engine, pixels[None], priority=priority, deadline=deadline
                    )
                )
                for one, pixels in zip(asked, prepared.inputs, strict=True)
            ]
        return [task.result() for task in tasks]


@contextlib.asynccontextmanager
async def _deadline(deadline_ms: float) -> AsyncIterator[None]:
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


def _image_seen(prepared: _Prepared) -> answers.ImageSeen:
    radiograph, facts = prepared.radiograph, prepared.radiograph.facts
    uids = facts.identifiers
    warnings = [_remark(remark) for remark in prepared.remarks if not remark.refuses]
    warnings += [
        answers.Remark(code=code, detail=_READING_REMARKS.get(code, code))
        for code in radiograph.remarks
    ]
    return answers.ImageSeen(
        sha256=radiograph.sha256,
        format=radiograph.format.value,
        width=radiograph.width,
        height=radiograph.height,
        view=facts.view,
        laterality=facts.laterality,
        spacing_mm=facts.spacing_mm,
        age_band=facts.age_band.value if facts.age_band else None,
        uids=answers.ImageUids(study=uids.study, series=uids.series, sop_instance=uids.sop_instance)
        if uids.sop_instance
        else None,
        warnings=tuple(warnings),
        reasons=tuple(_remark(remark) for remark in prepared.remarks if remark.refuses),
    )


_READING_REMARKS = {
    "content_type_mismatch": "the Content-Type names another kind of file than was sent",
    "further_pictures_ignored": "the file holds further pictures; the first was read",
    "trailing_bytes_ignored": "bytes behind the image's end were ignored",
    "no_window": "the file names no window; it was shown from its lowest to its highest value",
    "for_processing": "the file is marked FOR PROCESSING: it was not made to be looked at",
}


def _remark(remark: Remark) -> answers.Remark:
    return answers.Remark(code=remark.code, detail=remark.detail)


def _result(one: _Asked, inference: Inference, facts: Facts, *, explain: bool) -> answers.Result:
    manifest, outputs = one.model.manifest, inference.outputs
    if explain:
        check_map(outputs, one.model.engine.bias)
    findings = find(manifest, outputs.logits[0], one.operating_point)
    return answers.Result(
        model=answers.ModelUsed(
            name=manifest.name,
            version=manifest.version,
            digest=one.model.package.digest,
            engine=one.model.engine.name,
            preprocessing=one.model.preprocessing,
        ),
        operating_point=one.operating_point,
        findings=tuple(
            _finding_seen(finding, _heat_map(one.model, inference, index) if explain else None)
            for index, finding in enumerate(findings)
        ),
        cautions=_cautions(one.model, facts),
    )


def _finding_seen(finding: Finding, heat_map: answers.HeatMap | None) -> answers.FindingSeen:
    return answers.FindingSeen(
        label=finding.label,
        probability=finding.probability,
        threshold=finding.threshold,
        positive=finding.positive,
        code=finding.code,
        heat_map=heat_map,
    )


def _heat_map(model: LoadedModel, inference: Inference, index: int) -> answers.HeatMap:
    grid = inference.outputs.cam[0, index]
    return answers.HeatMap(
        height=grid.shape[0],
        width=grid.shape[1],
        bias=round(float(model.engine.bias[index]), 5),
        grid=tuple(tuple(round(float(value), 5) for value in row) for row in grid),
    )


def _cautions(model: LoadedModel, facts: Facts) -> tuple[answers.Remark, ...]:
    trained_on = model.manifest.age_bands
    if not trained_on or (facts.age_band and facts.age_band.value in trained_on):
        return ()
    known = f"{facts.age_band.value} years" if facts.age_band else "not known"
    detail = (
        f"this model was trained on patients of {' and '.join(trained_on)} years; "
        f"this patient's age is {known}"
    )
    code = "outside_training_population" if facts.age_band else "age_unknown"
    return (answers.Remark(code=code, detail=detail),)
