"""Puts the parts together, once a process: models, gate, reader, queue, predictor."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client.metrics_core import Metric

from cxrserve.batching.batcher import Batcher
from cxrserve.delegation import connect, delegated, runs_on_triton
from cxrserve.engines.engine import Engine, RemoteEngine
from cxrserve.engines.latency import GPU_SIZES, LatencyTable
from cxrserve.engines.load import load_engine
from cxrserve.engines.plan import PlanStore, plan_of
from cxrserve.engines.warm_up import TableStore, measured, table_of
from cxrserve.errors import BrokenPackage, CxrError, NotReady
from cxrserve.models.package import ModelPackage
from cxrserve.models.repository import LoadedModel, ModelRepository, loaded, packages_named
from cxrserve.observability.batch_metrics import batch_families
from cxrserve.observability.gpu_metrics import gpu_families, nvml
from cxrserve.observability.model_metrics import Served, model_families
from cxrserve.observability.rollout_metrics import rollout_families
from cxrserve.observability.scaling_metrics import Scaling, scaling_families
from cxrserve.observability.triton_metrics import triton_families
from cxrserve.predictor import Predictor
from cxrserve.preparation import Preparation
from cxrserve.radiograph.gate import QualityGate
from cxrserve.radiograph.gate_network import load_gate_network
from cxrserve.radiograph.limits import Limits
from cxrserve.radiograph.phantom import draw_phantom
from cxrserve.radiograph.radiograph import ImageFormat, Radiograph
from cxrserve.radiograph.reader import read_radiograph
from cxrserve.radiograph.sandbox import DicomSandbox
from cxrserve.settings import Settings
from cxrserve.shadow import Shadows

if TYPE_CHECKING:
    from cxrserve.triton.cluster import Cluster

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
        self._limits = settings.limits()
        self._predictor: Predictor | None = None
        self._sandbox: DicomSandbox | None = None
        self.batcher: Batcher | None = None
        self.cluster: Cluster | None = None
        self._nvml = nvml()
        self._why_not_ready = "the service is starting"
        self.is_leaving = False
        # One at a time: each measures, and holds a network until it is served.
        self._loading = asyncio.Lock()
        self._changes: set[asyncio.Future[None]] = set()

    @property
    def is_ready(self) -> bool:
        """Models are loaded and warm, and the service neither leaves nor drains."""
        return self._predictor is not None and not self.is_leaving

    def leave(self) -> None:
        """Be ready no more, so that nobody new is sent here; who comes is still answered."""
        self.is_leaving = True

    @property
    def predictor(self) -> Predictor:
        """The predictor.

        Raises:
            NotReady: before warm-up, or while stopping.
        """
        if self._predictor is None:
            raise NotReady(self._why_not_ready, advice="ask again in a few seconds")
        return self._predictor

    @property
    def limits(self) -> Limits:
        """What one image may be, and how large it is read for the networks that are loaded."""
        return self._limits

    @property
    def dicom_reader(self) -> DicomSandbox:
        """Where DICOM is read, for whoever reads it.

        Raises:
            NotReady: before `start`.
        """
        if self._sandbox is None:
            raise NotReady(self._why_not_ready, advice="ask again in a few seconds")
        return self._sandbox

    def loaded(self) -> list[LoadedModel]:
        """The models that are loaded; empty until ready."""
        return [] if self._predictor is None else list(self._predictor.repository)

    def served(self) -> list[Served]:
        """Each model with its queues; empty until ready."""
        if self._predictor is None or self.batcher is None:
            return []
        found = []
        for model in self._predictor.repository:
            queue, *stand_in = self.batcher.queues_of(model.engine)
            found.append(Served(model, queue, next(iter(stand_in), None)))
        return found

    def families(self) -> Iterator[Metric]:
        """Prometheus metrics of models, queues, devices and Tritons; see docs/metrics.md."""
        served = self.served()
        left_out = len(self._predictor.repository.left_out) if self._predictor else 0
        yield from model_families(served, left_out=left_out)
        yield from batch_families(served, self.batcher)
        yield from scaling_families(self.scaling())
        yield from triton_families(self.cluster)
        yield from gpu_families(self._nvml)
        if self._predictor is not None:
            predictor = self._predictor
            yield from rollout_families(predictor.repository, predictor.shadows.comparisons)

    def turned_away(self) -> None:
        """Somebody was refused who had not come to the batcher yet."""
        if self.batcher is not None:
            self.batcher.turned_away()

    def scaling(self) -> Scaling | None:
        """What replicas are scaled by; None until ready."""
        if self._predictor is None or self.batcher is None:
            return None
        return Scaling(
            processors=self.batcher.processors,
            busy_s=self.batcher.busy_s,
            demanded_s=self.batcher.demanded_s,
            slo_s=self.settings.default_deadline_ms / 1e3,
            waits_s={
                one.full_name: self.batcher.expected_wait_s(one.engine)
                for one in self._predictor.repository
            },
        )

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
        if settings.triton_endpoints:
            self.cluster = await connect(settings)
        repository = await asyncio.to_thread(
            ModelRepository.load, settings.models_dir, self._engine_of, settings.rollout()
        )
        gate = await asyncio.to_thread(_load_gate, settings)
        default_models = _default_models(settings, repository)
        self._sandbox = DicomSandbox(
            processes=settings.dicom_processes, timeout_s=settings.dicom_timeout_s
        )
        await asyncio.to_thread(self._sandbox.warm_up)
        await asyncio.to_thread(_warm_up, gate)
        tables = await asyncio.to_thread(lambda: [self._tables_of(model) for model in repository])
        batcher = self.batcher = Batcher(
            processors=settings.processors,
            size=settings.queue_size,
            clock=time.monotonic,
            share_identical=settings.share_identical,
        )
        for model, of_model in zip(repository, tables, strict=True):
            _serve(batcher, model.engine, of_model)
            self._read_as_large_as(model)
        self._predictor = Predictor(
            repository=repository,
            default_models=default_models,
            preparation=Preparation(self._read, gate, time.monotonic),
            batcher=batcher,
            clock=time.monotonic,
            default_deadline_ms=settings.default_deadline_ms,
            shadows=Shadows(
                batcher, clock=time.monotonic, deadline_s=settings.default_deadline_ms / 1e3
            ),
        )
        _log.info(
            "ready after %.1f s with %s from %s",
            time.monotonic() - started,
            ", ".join(repository.names()),
            settings.models_dir.resolve(),
        )

    async def load(self, name: str) -> None:
        """Load the packages of this name from the models folder, anew where they are loaded.

        What is in flight on their predecessors is answered by them.

        Raises:
            ModelNotFound: no package there has this name.
            BrokenPackage: one of them cannot be served; what was loaded goes on.
        """
        await self._to_its_end(self._load(self.predictor.repository, name))

    async def unload(self, name: str, version: str | None = None) -> None:
        """Serve this version no more, or none; returns when all that was let in is answered.

        Raises:
            ModelNotFound: it is not loaded.
        """
        gone = self.predictor.repository.remove(name, version)
        await self._to_its_end(self._retire(gone))

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
        if self.cluster is not None:
            await self.cluster.close()

    async def _to_its_end(self, change: Coroutine[Any, Any, None]) -> None:
        """Half a change would leave engines that nobody closes: a caller who goes stops nothing."""
        task = asyncio.ensure_future(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        await asyncio.shield(task)

    async def _load(self, repository: ModelRepository, name: str) -> None:
        async with self._loading:
            packages = await asyncio.to_thread(packages_named, name, self.settings.models_dir)
            for package in packages:
                model = await asyncio.to_thread(loaded, package, self._engine_of)
                try:
                    tables = await asyncio.to_thread(self._tables_of, model)
                except Exception:
                    await asyncio.to_thread(model.engine.close)
                    raise
                self._read_as_large_as(model)
                _serve(self._batcher(), model.engine, tables)
                replaced = repository.add(model)
                if replaced is not None:
                    await self._retire([replaced])

    def _batcher(self) -> Batcher:
        assert self.batcher is not None
        return self.batcher

    async def _retire(self, models: list[LoadedModel]) -> None:
        for model in models:
            await self._batcher().withdraw(model.engine)
            await asyncio.to_thread(model.engine.close)

    def _engine_of(self, package: ModelPackage) -> Engine:
        local = load_engine(package, plan=plan_of(package, PlanStore(self.settings.cache_dir)))
        if self.cluster is None or not runs_on_triton(package, self.settings):
            return local
        return delegated(package, local, self.cluster, self.settings)

    def _tables_of(self, model: LoadedModel) -> tuple[LatencyTable, ...]:
        """How long batches take: of a model's engine, and of what stands in for it."""
        engine = model.engine
        if not isinstance(engine, RemoteEngine):
            return (self._table_of(model, engine),)
        here = [self._table_of(model, one) for one in (engine.stand_in,) if one is not None]
        if not engine.is_available:
            # That of the engine here, which is there then; what runs corrects it.
            return tuple(LatencyTable.from_dict(here[0].as_dict()) for _ in range(2))
        side, sizes = model.manifest.input.side, [n for n in GPU_SIZES if n <= engine.largest]
        measure = partial(measured, clock=time.monotonic, budget_s=_MEASURING_S)
        return (measure(engine, side, sizes=sizes), *here)

    def _table_of(self, model: LoadedModel, engine: Engine) -> LatencyTable:
        """How long batches take here: from an earlier start, or measured now."""
        return table_of(
            engine,
            digest=model.package.digest,
            side=model.manifest.input.side,
            store=TableStore(self.settings.cache_dir),
            sizes=_STREAM_SIZES if engine.independent_slots else GPU_SIZES,
            clock=time.monotonic,
            budget_s=_MEASURING_S,
        )

    def _read(self, data: bytes, content_type: str | None) -> Radiograph:
        return read_radiograph(
            data, content_type=content_type, limits=self._limits, dicom_reader=self.dicom_reader
        )

    def _read_as_large_as(self, model: LoadedModel) -> None:
        """JPEGs are decoded no smaller than any network wants them."""
        side = max(self._limits.jpeg_side, model.manifest.input.side)
        self._limits = replace(self._limits, jpeg_side=side)


def _serve(batcher: Batcher, engine: Engine, tables: tuple[LatencyTable, ...]) -> None:
    batcher.serve(engine, tables[0])
    if isinstance(engine, RemoteEngine) and engine.stand_in is not None:
        batcher.stand_in(engine, engine.stand_in, tables[1])


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
