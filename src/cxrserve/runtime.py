"""Puts the parts together, once a process: models, gate, reader, queue, predictor."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from dataclasses import replace

from cxrserve.batching.batcher import Batcher
from cxrserve.batching.model_queue import ModelQueue
from cxrserve.engines.latency import GPU_SIZES, LatencyTable
from cxrserve.engines.load import load_engine
from cxrserve.engines.plan import PlanStore, plan_of
from cxrserve.engines.warm_up import TableStore, table_of
from cxrserve.errors import BrokenPackage, CxrError, NotReady
from cxrserve.models.repository import ModelRepository
from cxrserve.predictor import Predictor
from cxrserve.preparation import Preparation
from cxrserve.radiograph.gate import QualityGate
from cxrserve.radiograph.gate_network import load_gate_network
from cxrserve.radiograph.phantom import draw_phantom
from cxrserve.radiograph.radiograph import ImageFormat, Radiograph
from cxrserve.radiograph.reader import read_radiograph
from cxrserve.radiograph.sandbox import DicomSandbox
from cxrserve.settings import Settings

_log = logging.getLogger(__name__)
# For each model whose table was not kept; a noisy one corrects itself by what runs.
_MEASURING_S = 0.5
# On a core time grows in step with the batch; larger ones would show the same and hold memory.
_STREAM_SIZES = (1, 2, 4, 8)
_DEFAULT_MODEL = "triage"


class Runtime:
    """Owns everything that lives as long as the process.

    `start` loads and warms up; until it is done, and once `stop` has begun, `predictor` raises
    `NotReady`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._predictor: Predictor | None = None
        self._sandbox: DicomSandbox | None = None
        self.batcher: Batcher | None = None
        self._why_not_ready = "the service is starting"

    @property
    def is_ready(self) -> bool:
        """Models are loaded and warm, and the service is not draining."""
        return self._predictor is not None

    @property
    def predictor(self) -> Predictor:
        """The predictor.

        Raises:
            NotReady: before warm-up, or while stopping.
        """
        if self._predictor is None:
            raise NotReady(self._why_not_ready, advice="ask again in a few seconds")
        return self._predictor

    def served(self) -> tuple[list[tuple[str, ModelQueue]], int]:
        """Each model with its queue, and how many requests were refused; empty until ready."""
        if self._predictor is None or self.batcher is None:
            return [], 0
        return [
            (f"{one.manifest.name}@{one.manifest.version}", self.batcher.queue_of(one.engine))
            for one in self._predictor.repository
        ], self.batcher.refused

    async def start(self) -> None:
        """Load models, check and warm them, start the DICOM reader.

        Raises:
            BrokenPackage: no model could be loaded, or the gate is broken; nothing is served then.
        """
        try:
            await self._start()
        except Exception as error:
            why = error.detail if isinstance(error, CxrError) else repr(error)
            self._why_not_ready = f"the service could not start: {why}"
            _log.critical("%s. %s", self._why_not_ready, getattr(error, "advice", ""))
            raise

    async def _start(self) -> None:
        settings, started = self.settings, time.monotonic()
        plans = PlanStore(settings.cache_dir)
        repository = await asyncio.to_thread(
            ModelRepository.load,
            settings.models_dir,
            lambda package: load_engine(package, plan=plan_of(package, plans)),
        )
        gate = await asyncio.to_thread(_load_gate, settings)
        default_models = _default_models(settings, repository)
        self._sandbox = DicomSandbox(
            processes=settings.dicom_processes, timeout_s=settings.dicom_timeout_s
        )
        await asyncio.to_thread(self._sandbox.warm_up)
        await asyncio.to_thread(_warm_up, gate)
        tables = await asyncio.to_thread(_tables, repository, TableStore(settings.cache_dir))
        batcher = self.batcher = Batcher(
            processors=settings.processors,
            size=settings.queue_size,
            clock=time.monotonic,
            share_identical=settings.share_identical,
        )
        for model, table in zip(repository, tables, strict=True):
            batcher.serve(model.engine, table)
        side = max(model.manifest.input.side for model in repository)
        limits = settings.limits()
        limits = replace(limits, jpeg_side=max(limits.jpeg_side, side))
        read = functools.partial(read_radiograph, limits=limits, dicom_reader=self._sandbox)
        self._predictor = Predictor(
            repository=repository,
            default_models=default_models,
            preparation=Preparation(
                lambda data, content_type: read(data, content_type=content_type), gate
            ),
            batcher=batcher,
            clock=time.monotonic,
            default_deadline_ms=settings.default_deadline_ms,
        )
        _log.info(
            "ready after %.1f s with %s from %s",
            time.monotonic() - started,
            ", ".join(repository.names()),
            settings.models_dir.resolve(),
        )

    async def stop(self) -> None:
        """Finish what was accepted, then free everything."""
        predictor, self._predictor = self._predictor, None
        self._why_not_ready = "the service is shutting down"
        if self.batcher is not None:
            await self.batcher.close()
        if self._sandbox is not None:
            self._sandbox.close()
        if predictor is not None:
            predictor.repository.close()


def _load_gate(settings: Settings) -> QualityGate | None:
    if settings.gate == "off":
        return None
    return QualityGate(load_gate_network(settings.models_dir / "gate"))


def _default_models(settings: Settings, repository: ModelRepository) -> tuple[str, ...]:
    if not repository.names():
        raise BrokenPackage(
            f"no model could be loaded from {settings.models_dir}",
            advice="`cxrserve models verify` says what is wrong with each package",
        )
    for name in settings.default_models:
        repository.get(name)
    if settings.default_models:
        return settings.default_models
    # One network that says what matters first, rather than all of them at several times the cost.
    if _DEFAULT_MODEL in repository.names():
        return (_DEFAULT_MODEL,)
    # Outlines are wanted by who asks for them: they are no findings.
    return tuple(name for name in repository.names() if not repository.get(name).segments)


def _warm_up(gate: QualityGate | None) -> None:
    if gate is not None:
        phantom = draw_phantom(side=512)
        gate.inspect(Radiograph(pixels=phantom, format=ImageFormat.PNG, width=512, height=512))


def _tables(repository: ModelRepository, store: TableStore) -> list[LatencyTable]:
    """How long each model's batches take here: from an earlier start, or measured now."""
    return [
        table_of(
            model.engine,
            digest=model.package.digest,
            side=model.manifest.input.side,
            store=store,
            sizes=_STREAM_SIZES if model.engine.independent_slots else GPU_SIZES,
            clock=time.monotonic,
            budget_s=_MEASURING_S,
        )
        for model in repository
    ]
