"""What the service costs in front of a Triton: perf_analyzer asks both for the same tensors.

One Triton (nvidia-pytriton, Python backend) holds an exported package. perf_analyzer drives it
directly, then through the service, in rounds whose order alternates; prints and writes the ratio.

    python -m load_tests.through_triton --out load_tests/results/through-triton.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cxrserve.models.package import read_package
from load_tests.bench.machine import describe
from load_tests.bench.processes import KEPT_VARIABLES, free_ports, running
from load_tests.peers import perf_analyzer
from load_tests.peers.triton_server import running_triton

_ROOT = Path(__file__).resolve().parents[1]
_SERVING = _ROOT / ".venv" / "bin" / "python"
_START_LIMIT_S = 90.0
_RUN_LIMIT_S = 180.0


@dataclass(frozen=True, slots=True)
class Round:
    """Images a second of one round, over gRPC."""

    direct: float
    through: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nih14-densenet121")
    parser.add_argument("--clients", type=int, default=8, help="requests in flight")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    if missing := perf_analyzer.missing():
        raise SystemExit(f"not installed: run {missing}")
    rounds = asyncio.run(_measured(asked))
    ratio = statistics.median(one.through for one in rounds) / statistics.median(
        one.direct for one in rounds
    )
    for number, one in enumerate(rounds):
        print(f"round {number}: Triton alone {one.direct:.1f}/s, through us {one.through:.1f}/s")
    print(f"through us / alone, medians: {ratio:.2f}")
    if asked.out:
        given = {
            "machine": describe(_ROOT),
            "model": asked.model,
            "clients": asked.clients,
            "rounds": [asdict(one) for one in rounds],
            "through_over_direct": round(ratio, 3),
        }
        asked.out.write_text(json.dumps(given, indent=2) + "\n")


async def _measured(asked: argparse.Namespace) -> list[Round]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        repository = folder / "repository"
        subprocess.run(  # noqa: S603, ASYNC221 - our own command, before anything runs
            [sys.executable, "-m", "cxrserve.cli", "export", "triton", str(repository),
             "--backend", "python", "--model", asked.model],
            check=True, cwd=_ROOT,
        )  # fmt: skip
        (folder / "triton").mkdir()
        async with AsyncExitStack() as stack:
            triton = stack.enter_context(running_triton(repository, folder / "triton"))
            http, grpc = free_ports(2)
            await stack.enter_async_context(
                running(
                    [str(_SERVING), "-m", "cxrserve.cli", "serve"],
                    environment={
                        **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
                        "CXRSERVE_HOST": "127.0.0.1",
                        "CXRSERVE_HTTP_PORT": str(http),
                        "CXRSERVE_GRPC_PORT": str(grpc),
                        "CXRSERVE_TRITON_ENDPOINTS": triton.grpc,
                        "CXRSERVE_TRITON_MODELS": asked.model,
                        "CXRSERVE_TRITON_FALLBACK": "off",
                        "CXRSERVE_CACHE_DIR": "off",
                    },
                    folder=_ROOT,
                    log=folder / "service.log",
                    ready_url=f"http://127.0.0.1:{http}/readyz",
                    start_limit_s=_START_LIMIT_S,
                )
            )
            rounds = []
            for number in range(asked.rounds):
                rates = {}
                addresses = {"direct": triton.grpc, "through": f"127.0.0.1:{grpc}"}
                for name in sorted(addresses, reverse=bool(number % 2)):
                    rates[name] = await asyncio.to_thread(_rate, asked, addresses[name], folder)
                rounds.append(Round(**rates))
            return rounds


def _rate(asked: argparse.Namespace, address: str, folder: Path) -> float:
    side = read_package(_ROOT / "models" / asked.model).manifest.input.side
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side), np.uint8)
    content = {"content": pixels.ravel().tolist(), "shape": list(pixels.shape)}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        data = Path(scratch) / "data.json"
        data.write_text(json.dumps({"data": [{"pixels": content}]}))
        printed = perf_analyzer.run(
            [
                *("-m", asked.model, "-u", address, "-i", "grpc", "--input-data", str(data)),
                *("--concurrency-range", str(asked.clients)),
                *("--measurement-interval", f"{asked.seconds * 1e3:.0f}"),
                *("--stability-percentage", "30", "--max-trials", "3"),
            ],
            scratch=Path(scratch),
            timeout_s=_RUN_LIMIT_S,
        )
    found = re.search(r"Throughput: ([\d.]+) infer/sec", printed)
    if found is None:
        raise SystemExit(f"perf_analyzer gave no throughput:\n{printed}")
    return float(found[1])


if __name__ == "__main__":
    main()
