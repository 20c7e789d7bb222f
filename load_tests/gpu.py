"""What a GPU gives, in one call: latency tables, the offline limit, goodput within a deadline.

    python -m load_tests.gpu --out load_tests/results/gpu.json

For each model, with PyTorch and CUDA graphs (`--engine onnxruntime` for ONNX Runtime): the latency
table; the offline limit, full batches with all slots in flight; and the highest Poisson rate that
our batcher serves with a p99 within `--slo-ms`, none refused, none late. As MLPerf's server
scenario has it, images are prepared beforehand and arrive in this process, so that the ratio is
comparable with MLPerf's (H200, ResNet-50, 15 ms: 0.835). `--device cpu` runs the same on a CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrserve.batching.batcher import Asking, Batcher
from cxrserve.batching.line import Priority
from cxrserve.engines.engine import Engine
from cxrserve.engines.films import films
from cxrserve.engines.latency import GPU_SIZES, SIZES, LatencyTable
from cxrserve.engines.load import load_way
from cxrserve.engines.plan import Way
from cxrserve.engines.warm_up import measured
from cxrserve.errors import CxrError
from cxrserve.models.package import read_package
from load_tests.bench.arrivals import poisson
from load_tests.bench.machine import describe
from load_tests.bench.measures import percentile

ROOT = Path(__file__).resolve().parents[1]
_MODELS = ("nih14-densenet121", "chexml-resnet50")
_SEARCH_STEPS = 7
_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one model. Rates are images a second, times milliseconds."""

    model: str
    engine: str
    table_ms: dict[int, float]
    offline_rate: float
    goodput_rate: float
    p99_ms: float | None
    ratio: float


def offline_rate(engine: Engine, pixels: NDArray[np.uint8], *, seconds: float) -> float:
    """Images a second of full batches, every slot in flight, nothing else to do."""
    done = [0] * engine.slots
    end = time.perf_counter() + seconds

    def run(slot: int) -> None:
        while time.perf_counter() < end:
            engine.run(pixels)
            done[slot] += len(pixels)

    threads = [threading.Thread(target=run, args=(slot,)) for slot in range(engine.slots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


async def served(
    engine: Engine,
    table: LatencyTable,
    pixels: NDArray[np.uint8],
    *,
    rate: float,
    seconds: float,
    slo_s: float,
) -> tuple[bool, float | None]:
    """Whether all of an open loop were answered within the SLO at p99, and that p99 in ms."""
    batcher = Batcher(processors=max(1, engine.slots), size=1 << 20, clock=time.monotonic)
    batcher.serve(engine, LatencyTable.from_dict(table.as_dict()))
    latencies_ms: list[float] = []
    lost = 0
    start = time.monotonic()

    async def one(image: NDArray[np.uint8], due: float) -> None:
        nonlocal lost
        # The deadline leaves room for a p99 at the SLO: none is refused for a bare overshoot.
        asking = Asking(priority=Priority.ROUTINE, deadline=due + 2 * slo_s, decoded=True)
        try:
            with batcher.enter([engine], asking) as booking:
                await booking.submit(engine, image)
        except CxrError:
            lost += 1
        else:
            latencies_ms.append((time.monotonic() - due) * 1e3)

    async with asyncio.TaskGroup() as group:
        for number, offset in enumerate(poisson(rate=rate, seconds=seconds, seed=_SEED)):
            due = start + offset
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            group.create_task(one(pixels[number % len(pixels)], due))
    await batcher.close()
    p99 = percentile(latencies_ms, 99)
    allowed = 0.01 * (len(latencies_ms) + lost)
    return lost <= allowed and p99 is not None and p99 <= slo_s * 1e3, p99


def measure(model: str, way: Way, *, models_dir: Path, seconds: float, slo_ms: float) -> Figures:
    """All figures of one model."""
    package = read_package(models_dir / model)
    engine = load_way(package, way)
    side = package.manifest.input.side
    sizes = SIZES if engine.independent_slots else GPU_SIZES
    table = measured(engine, side, sizes=sizes, clock=time.monotonic, budget_s=4 * seconds)
    pixels = films(table.largest, side)
    limit = offline_rate(engine, pixels, seconds=seconds)
    low, high = 0.0, 1.0
    best: tuple[float, float | None] = (0.0, None)
    for _ in range(_SEARCH_STEPS):
        share = (low + high) / 2
        asked = served(
            engine, table, pixels, rate=share * limit, seconds=seconds, slo_s=slo_ms / 1e3
        )
        good, p99_ms = asyncio.run(asked)
        if good:
            low, best = share, (share * limit, p99_ms)
        else:
            high = share
    engine.close()
    return Figures(
        model=model,
        engine=engine.name,
        table_ms={size: round(table.seconds(size) * 1e3, 3) for size in table.sizes},
        offline_rate=round(limit, 1),
        goodput_rate=round(best[0], 1),
        p99_ms=None if best[1] is None else round(best[1], 2),
        ratio=round(best[0] / limit, 3),
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=_MODELS)
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--engine", choices=("torch", "onnxruntime"), default="torch")
    parser.add_argument("--device", choices=("cuda", "tensorrt", "cpu"), default="cuda")
    parser.add_argument("--graph", choices=("fp32", "int8"), default="fp32")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16", "int8"), default="fp16")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--slo-ms", type=float, default=15.0)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(arguments)
    way = Way(
        engine=asked.engine,
        device=asked.device,
        graph=asked.graph,
        precision=asked.precision,
        slots=asked.slots,
    )
    found = []
    for model in asked.models:
        figures = measure(
            model, way, models_dir=asked.models_dir, seconds=asked.seconds, slo_ms=asked.slo_ms
        )
        found.append(asdict(figures))
        print(json.dumps(found[-1]), flush=True)
    written: dict[str, Any] = {
        "made": describe(ROOT),
        "slo_ms": asked.slo_ms,
        "seconds": asked.seconds,
        "models": found,
    }
    asked.out.write_text(json.dumps(written, indent=2), "utf-8")


if __name__ == "__main__":
    main()
