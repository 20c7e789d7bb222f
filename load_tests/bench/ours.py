"""Our own service as the benchmark runs it: as shipped, ungated, tuned, over gRPC."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from load_tests.bench import grpc_client
from load_tests.bench.exchange import Request
from load_tests.bench.http_client import request_bytes
from load_tests.bench.processes import KEPT_VARIABLES, Pinning, output_of
from load_tests.bench.server import ROOT, Place, Probabilities, Server, Terms, connect_grpc
from load_tests.bench.subject import Subject

_SERVING = ROOT / ".venv" / "bin" / "python"
# A plan may name an engine that is an extra.
_WITH_EXTRAS = ROOT / ".venv-dev" / "bin" / "python"
_CLI = ["-m", "cxrserve.cli"]


def ask(subject: Subject, image: bytes, terms: Terms) -> Request:
    """`POST /v1/predict`."""
    query = {"model": subject.model}
    if terms.deadline_ms is not None:
        query["deadline_ms"] = f"{terms.deadline_ms:.0f}"
    if terms.priority:
        query["priority"] = terms.priority
    target = f"/v1/predict?{urlencode(query)}"
    headers = {"X_Request_Id": terms.request_id} if terms.request_id else {}
    return Request(request_bytes("POST", target, image, content_type="image/jpeg", **headers))


def read(body: bytes) -> Probabilities:
    """The findings' probabilities."""
    return probabilities_of(json.loads(body))


def probabilities_of(answer: dict[str, Any]) -> Probabilities:
    """The same, of an answer that was parsed already."""
    (result,) = answer["results"]
    return [finding["probability"] for finding in result["findings"]]


def _ask_grpc(subject: Subject, image: bytes, terms: Terms) -> Request:
    return grpc_client.infer_request(subject.model, image, deadline_ms=terms.deadline_ms)


def _environment(
    *, gate: str, cache: Callable[[Subject], str]
) -> Callable[[Place, Subject], dict[str, str]]:
    def environment(place: Place, subject: Subject) -> dict[str, str]:
        # A container's limit is not what os.cpu_count() says, so an operator sets the threads.
        return {
            "CXRSERVE_HOST": "127.0.0.1",
            "CXRSERVE_HTTP_PORT": str(place.http_port),
            "CXRSERVE_GRPC_PORT": str(place.grpc_port),
            "CXRSERVE_MODELS_DIR": str(subject.models_dir),
            "CXRSERVE_GATE": gate,
            "CXRSERVE_PROCESSORS": str(place.cores),
            "CXRSERVE_CACHE_DIR": cache(subject),
        }

    return environment


def _no_cache(_subject: Subject) -> str:
    return "off"  # the latency table is measured at each start, under this pinning


def _tuned_cache(subject: Subject) -> str:
    return str(subject.models_dir.parent / "tuned")


async def _tune(subject: Subject, pinning: Pinning) -> str:
    """Find the fastest way to run the model under this pinning, as an operator would."""
    note = Path(_tuned_cache(subject)) / "note"
    if (known := _text(note)) is not None:  # servers that differ in the gate share a plan
        return known
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    printed = await output_of(
        pinning.command([str(_WITH_EXTRAS), *_CLI, "models", "tune", subject.model, "--json"]),
        environment=kept
        | {
            "CXRSERVE_MODELS_DIR": str(subject.models_dir),
            "CXRSERVE_CACHE_DIR": _tuned_cache(subject),
        },
        folder=ROOT,
    )
    plan = json.loads(printed)["plan"]
    told = (
        f"tuned to {plan['engine']}-{plan['device']}, {plan['precision']} of the {plan['graph']} "
        f"graph, {plan['slots']} × {plan['threads']}, {plan['images_per_s']:.1f} images/s "
        f"at batch {plan['batch']}"
    )
    note.write_text(told, "utf-8")
    return told


def _text(file: Path) -> str | None:
    return file.read_text("utf-8") if file.is_file() else None


def _served(name: str, note: str, *, gate: bool = True, **other: Any) -> Server:
    settings: dict[str, Any] = {
        "python": _SERVING,
        "environment": _environment(gate="on" if gate else "off", cache=_no_cache),
        "ask": ask,
        "read": read,
        "tells": True,
    }
    return Server(
        name=name,
        note=note,
        distribution="cxrserve",
        arguments=lambda _: [*_CLI, "serve"],
        ready="/readyz",
        gated=gate,
        **(settings | other),
    )


def _tuned(name: str, note: str, *, gate: bool = True) -> Server:
    return _served(
        name,
        note,
        gate=gate,
        python=_WITH_EXTRAS,
        environment=_environment(gate="on" if gate else "off", cache=_tuned_cache),
        prepare=_tune,
    )


def _over_grpc(name: str, note: str, *, gate: bool = True) -> Server:
    return _served(
        name,
        note,
        gate=gate,
        ask=_ask_grpc,
        read=grpc_client.probabilities_of,
        connect=connect_grpc,
        tells=False,
    )


OURS = (
    _served("ours", "as shipped: its quality gate runs a second network"),
    _served("ours-ungated", "without the quality gate: the peers' work and no more", gate=False),
    _tuned("ours-tuned", "as shipped, after `cxrserve models tune` on this machine"),
    _tuned("ours-tuned-ungated", "the same without the quality gate", gate=False),
    _over_grpc("ours-grpc", "as shipped, asked by gRPC (Open Inference Protocol)"),
    _over_grpc("ours-grpc-ungated", "the same without the quality gate", gate=False),
)
