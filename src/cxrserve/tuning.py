"""Tries every way to run a package on this machine, and finds the fastest that is exact enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines import onnx_runtime
from cxrserve.engines.engine import Engine, Masks
from cxrserve.engines.films import films
from cxrserve.engines.hardware import cores
from cxrserve.engines.latency import GPU_SIZES
from cxrserve.engines.load import is_installed, load_way
from cxrserve.engines.onnx_cpu import load_onnx_cpu, most_exact
from cxrserve.engines.plan import Plan, Way
from cxrserve.errors import CxrError
from cxrserve.findings.interpret import probabilities
from cxrserve.models.package import ModelPackage

LARGEST_DIFFERENCE = 0.03
"""Of a probability to the most exact graph's, at the 99th percentile: the last digit but one that
an answer's reader could act on."""

CPU_BATCHES = (1, 2, 4, 8)
GPU_BATCHES = tuple(size for size in GPU_SIZES if size & (size - 1) == 0)

_FILMS = 16
_GPU_SLOTS = (1, 2)

Clock = Callable[[], float]
Precision = Literal["fp32", "bf16", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one way.

    Attributes:
        way: what was tried.
        difference: of a probability to the most exact graph's, 99th percentile; None: never ran.
        images_per_s: by batch size, with all slots busy; empty where it was not worth measuring.
        refused: why it is no candidate; empty if it is one.
    """

    way: Way
    difference: float | None = None
    images_per_s: dict[int, float] = field(default_factory=dict)
    refused: str = ""

    def plan(self) -> Plan | None:
        """The trial at its fastest batch, if it may be used."""
        if self.refused or self.difference is None or not self.images_per_s:
            return None
        batch = max(self.images_per_s, key=lambda size: self.images_per_s[size])
        return Plan(
            **self.way.model_dump(),
            batch=batch,
            images_per_s=self.images_per_s[batch],
            difference=self.difference,
        )


def ways(package: ModelPackage) -> tuple[Way, ...]:
    """Every way that this machine has to run a package: what serves it untuned comes first."""
    found: list[Way] = []
    graphs = sorted(package.manifest.graphs, key=lambda graph: graph != most_exact(package))
    for graph in graphs:
        for device in onnx_runtime.devices():
            found += _slotted("onnxruntime", device, graph.precision, graph.precision)
        if is_installed("openvino"):
            for precision in _openvino_precisions(graph.precision):
                found += _slotted("openvino", "cpu", graph.precision, precision)
        if is_installed("torch") and graph.precision == "fp32":
            for where, precision in _torch_precisions():
                found += _slotted("torch", where, "fp32", precision)
    return tuple(found)


def tune(
    package: ModelPackage, candidates: Sequence[Way], *, clock: Clock, seconds: float
) -> Iterator[Trial]:
    """Try each way; one that is not exact enough is not timed.

    Args:
        package: the package.
        candidates: from `ways`.
        clock: seconds, monotonic.
        seconds: how long each batch size of each way is run.
    """
    side = package.manifest.input.side
    reference = load_onnx_cpu(package)
    try:
        expected = _probabilities(reference, package, films(_FILMS, side))
    finally:
        reference.close()
    for way in candidates:
        yield _try(package, way, expected, clock=clock, seconds=seconds)


def fastest(trials: Sequence[Trial]) -> Plan | None:
    """The plan of the trial that reads most images a second; None if none may be used."""
    plans = [plan for trial in trials if (plan := trial.plan()) is not None]
    return max(plans, key=lambda plan: plan.images_per_s, default=None)


def _try(
    package: ModelPackage,
    way: Way,
    expected: NDArray[np.float64],
    *,
    clock: Clock,
    seconds: float,
) -> Trial:
    try:
        engine = load_way(package, way)
    except CxrError as error:
        return Trial(way, refused=error.detail)
    try:
        pixels = films(_FILMS, package.manifest.input.side)
        difference = float(
            np.quantile(np.abs(_probabilities(engine, package, pixels) - expected), 0.99)
        )
        if not difference <= LARGEST_DIFFERENCE:
            return Trial(way, difference, refused=f"differs by more than {LARGEST_DIFFERENCE}")
        batches = CPU_BATCHES if way.device == "cpu" else GPU_BATCHES
        rates = {
            batch: _rate(engine, package.manifest.input.side, batch, clock=clock, seconds=seconds)
            for batch in batches
        }
        return Trial(way, difference, rates)
    except CxrError as error:
        return Trial(way, refused=error.detail)
    finally:
        engine.close()


def _rate(engine: Engine, side: int, batch: int, *, clock: Clock, seconds: float) -> float:
    """Images a second with every slot busy."""
    pixels = films(batch, side)

    def work(_slot: int) -> float:
        engine.run(pixels)
        started, runs = clock(), 0
        while (elapsed := clock() - started) < seconds or not runs:
            engine.run(pixels)
            runs += 1
        return runs * batch / elapsed

    with ThreadPoolExecutor(engine.slots) as pool:
        return sum(pool.map(work, range(engine.slots)))


def _probabilities(
    engine: Engine, package: ModelPackage, pixels: NDArray[np.uint8]
) -> NDArray[np.float64]:
    outputs = engine.run(pixels)
    if isinstance(outputs, Masks):
        return outputs.mask.astype(np.float64)
    manifest = package.manifest
    return probabilities(outputs.logits, manifest.activation, manifest.calibration)


def _slotted(
    engine: Literal["onnxruntime", "openvino", "torch"],
    device: Literal["cpu", "cuda", "tensorrt"],
    graph: Literal["fp32", "fp16", "int8"],
    precision: Precision,
) -> Iterator[Way]:
    """All cores to one call each, then half as many calls with two, then all to one call."""
    every = cores()
    shares = {(every, 1), (max(1, every // 2), min(2, every)), (1, every)}
    if device != "cpu":
        shares = {(slots, 1) for slots in _GPU_SLOTS}
    for slots, threads in sorted(shares, reverse=True):
        yield Way(
            engine=engine,
            device=device,
            graph=graph,
            precision=precision,
            slots=slots,
            threads=threads,
        )


def _openvino_precisions(graph: Literal["fp32", "fp16", "int8"]) -> Iterator[Precision]:
    from cxrserve.engines.openvino import has_bf16  # noqa: PLC0415 - an extra

    yield graph
    if graph != "int8" and has_bf16():
        yield "bf16"


def _torch_precisions() -> Iterator[tuple[Literal["cpu", "cuda"], Precision]]:
    import torch  # noqa: PLC0415 - an extra

    from cxrserve.engines.torch_engine import has_bf16  # noqa: PLC0415 - an extra

    yield "cpu", "fp32"
    if has_bf16():
        yield "cpu", "bf16"
    if torch.cuda.is_available():
        yield "cuda", "fp32"
        yield "cuda", "bf16"
        yield "cuda", "fp16"
