"""What counting costs: microseconds of metrics and records of a request, and its share of all.

The service is loaded to what it can do, and the kernel tells what a request takes of the
processors. What is counted of one is counted over and over here, before and after, with what the
service uses for it:

    python -m load_tests.telemetry_cost --model triage
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

from cxrserve.answer import Answer, FindingSeen, ImageSeen, ModelUsed, Result, Timings
from cxrserve.batching.line import Priority
from cxrserve.engines.load import load_engine
from cxrserve.models.package import read_package
from cxrserve.models.repository import LoadedModel, loaded
from cxrserve.observability.drift import FindingStatistics
from cxrserve.observability.record import ANSWERED, begin
from cxrserve.observability.telemetry import Telemetry
from load_tests.bench.processes import Cores, Pinning
from load_tests.bench.stand import Stand
from load_tests.bench.subject import prepare
from load_tests.thread_times import a_round

_ROOT = Path(__file__).resolve().parents[1]
_REQUESTS = 20_000


def counting_us(model: LoadedModel, *, traced: bool = False) -> float:
    """Microseconds of processor time to count one answered request of one model."""
    telemetry = Telemetry(FindingStatistics(lambda: [model]))
    answer = _answer_of(model)
    trace_id = "0af7651916cd43dd8448eb211c80319c" if traced else ""
    began = time.process_time()
    for _ in range(_REQUESTS):
        record = begin("rest", "0")
        record.trace_id = trace_id
        record.taken_up(Priority.ROUTINE, [model.full_name])
        for stage in ("decode_queue", "decode", "prepare", "interpret"):
            record.took(stage, record.began, 0.01)  # type: ignore[arg-type]
        for stage in ("queue", "inference"):
            engine = model.engine.name
            record.took(stage, 0.0, 0.01, model=model.full_name, engine=engine, batch=1)  # type: ignore[arg-type]
        telemetry.answered(answer)
        telemetry.metrics.served("POST", "/v1/predict", 200, 0.1)
        record.ended(ANSWERED)
        telemetry.ended(record)
    return (time.process_time() - began) / _REQUESTS * 1e6


def _answer_of(model: LoadedModel) -> Answer:
    findings = tuple(
        FindingSeen(label=label.name, probability=0.3 if label.trained else None, positive=False)
        for label in model.manifest.labels
    )
    used = ModelUsed(
        name=model.manifest.name,
        version=model.manifest.version,
        digest=model.package.digest,
        engine=model.engine.name,
        preprocessing=model.preprocessing,
    )
    image = ImageSeen(sha256="0", format="image/jpeg", width=1024, height=1024)
    timings = Timings(decode=1, queue=1, inference=1, total=3)
    result = Result(model=used, operating_point=None, findings=findings)
    return Answer(id="0", image=image, results=(result,), timings_ms=timings)


async def _request_us(asked: argparse.Namespace) -> float:
    """Microseconds of processor time that a request takes of the loaded service."""
    with tempfile.TemporaryDirectory() as folder:
        subject = prepare(asked.model, models_dir=_ROOT / "models", folder=Path(folder))
        stand = Stand(subject, Pinning.of(Cores.ALL), lambda _: None, tolerance=0.01)
        rounds = [
            await a_round(stand, "ours", clients=asked.clients, seconds=asked.seconds)
            for _ in range(asked.rounds)
        ]
    return median(one.loop_ms + one.threads_ms for one in rounds) * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="triage")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    model = loaded(read_package(_ROOT / "models" / asked.model), load_engine)
    counted = [counting_us(model) for _ in range(3)]
    request_us = asyncio.run(_request_us(asked))
    counted += [counting_us(model) for _ in range(3)]
    each = median(counted)
    traced = counting_us(model, traced=True)
    print(
        f"{asked.model}: {each:.0f} µs of the {request_us:.0f} µs that a request takes of the "
        f"processors: {each / request_us:.2%}; with an exemplar {traced:.0f} µs"
    )


if __name__ == "__main__":
    main()
