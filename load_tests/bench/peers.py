"""The peers: how each is started, asked and read."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from load_tests.bench import grpc_client
from load_tests.bench.exchange import Request
from load_tests.bench.http_client import request_bytes
from load_tests.bench.server import ROOT, Ask, Place, Probabilities, Server, Terms, connect_grpc
from load_tests.bench.subject import Subject

_PEERS = ROOT / "load_tests" / "peers"
_BOUNDARY = "phantom-phantom-phantom"


def _peer_environment(place: Place, subject: Subject) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "BENCH_TASK": str(subject.task_file),
        "BENCH_CORES": str(place.cores),
        "BENCH_PORT": str(place.http_port),
        "BENCH_SCRATCH": str(place.scratch),
    }


def _bentoml_environment(place: Place, subject: Subject) -> dict[str, str]:
    own = {"BENTOML_HOME": str(place.scratch), "BENTOML_DO_NOT_TRACK": "True"}
    return _peer_environment(place, subject) | own


def _bentoml_slo_environment(place: Place, subject: Subject) -> dict[str, str]:
    latency_ms = f"{place.slo_ms:.0f}"
    return _bentoml_environment(place, subject) | {"BENCH_MAX_LATENCY_MS": latency_ms}


def _single_environment(place: Place, subject: Subject) -> dict[str, str]:
    return _peer_environment(place, subject) | {"BENCH_MAX_BATCH": "1"}


def _triton_grpc_environment(place: Place, subject: Subject) -> dict[str, str]:
    return _peer_environment(place, subject) | {"BENCH_GRPC_PORT": str(place.grpc_port)}


def _serve_bento(place: Place) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(place.http_port)]
    return ["-m", "bentoml", "serve", "load_tests.peers.bentoml.server:Chest", *where]


def _script(peer: str) -> Callable[[Place], list[str]]:
    return lambda _: [str(_PEERS / peer / "server.py")]


def _python(peer: str) -> Path:
    return _PEERS / ".envs" / peer / "bin" / "python"


def _ask_raw(subject: Subject, image: bytes, terms: Terms) -> Request:
    return Request(request_bytes("POST", "/predict", image, content_type="image/jpeg"))


def _ask_form(part: str) -> Ask:
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{part}"; filename="film.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )

    kind = f"multipart/form-data; boundary={_BOUNDARY}"

    def ask(subject: Subject, image: bytes, terms: Terms) -> Request:
        form = head.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return Request(request_bytes("POST", "/predict", form, content_type=kind))

    return ask


def _ask_mlserver(subject: Subject, image: bytes, terms: Terms) -> Request:
    # MLServer's REST knows no binary tensors.
    tensor = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(image).decode("ascii")],
    }
    body = json.dumps({"inputs": [tensor]}).encode()
    target = "/v2/models/chest/infer"
    return Request(request_bytes("POST", target, body, content_type="application/json"))


def _ask_triton(subject: Subject, image: bytes, terms: Terms) -> Request:
    # The Open Inference Protocol with Triton's binary tensors.
    element = len(image).to_bytes(4, "little") + image
    tensor = {
        "name": "image",
        "shape": [1, 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(element)},
    }
    header = json.dumps({"inputs": [tensor]}).encode()
    whole = request_bytes(
        "POST",
        "/v2/models/chest/infer",
        header + element,
        content_type="application/octet-stream",
        Inference_Header_Content_Length=str(len(header)),
    )
    return Request(whole)


def _ask_triton_grpc(subject: Subject, image: bytes, terms: Terms) -> Request:
    return grpc_client.infer_request("chest", image, deadline_ms=terms.deadline_ms)


def _read_probabilities(body: bytes) -> Probabilities:
    return list(json.loads(body)["probabilities"])


def _read_first_row(body: bytes) -> Probabilities:
    return list(json.loads(body)[0])


def _read_oip(body: bytes) -> Probabilities:
    return list(json.loads(body)["outputs"][0]["data"])


_BENTOML: dict[str, Any] = {
    "python": _python("bentoml"),
    "distribution": "bentoml",
    "arguments": _serve_bento,
    "ready": "/readyz",
    "ask": _ask_form("images"),
    "read": _read_first_row,
}
_TRITON: dict[str, Any] = {
    "python": _python("triton"),
    "distribution": "nvidia-pytriton",
    "arguments": _script("triton"),
    "ready": "/v2/models/chest/ready",
}
_LITSERVE: dict[str, Any] = {
    "python": _python("litserve"),
    "distribution": "litserve",
    "arguments": _script("litserve"),
    "ready": "/health",
    "ask": _ask_form("image"),
    "read": _read_probabilities,
}

PEERS = (
    Server(
        name="bentoml",
        note="stock adaptive batching, its defaults",
        environment=_bentoml_environment,
        **_BENTOML,
    ),
    Server(
        name="bentoml-slo",
        note="stock adaptive batching, max_latency_ms = the SLO",
        environment=_bentoml_slo_environment,
        **_BENTOML,
    ),
    Server(
        name="litserve",
        note="batches of 8, 10 ms; a worker a core",
        environment=_peer_environment,
        **_LITSERVE,
    ),
    Server(
        name="litserve-single",
        note="no batching; a worker a core",
        environment=_single_environment,
        **_LITSERVE,
    ),
    Server(
        name="mlserver",
        note="adaptive batching, 8 and 10 ms; a worker process a core",
        python=_python("mlserver"),
        distribution="mlserver",
        arguments=_script("mlserver"),
        environment=_peer_environment,
        ready="/v2/models/chest/ready",
        ask=_ask_mlserver,
        read=_read_oip,
    ),
    Server(
        name="fastapi",
        note="thread pool, a thread a core; no batching",
        python=_python("fastapi"),
        distribution="fastapi",
        arguments=_script("fastapi"),
        environment=_peer_environment,
        ready="/ready",
        ask=_ask_raw,
        read=_read_probabilities,
    ),
    Server(
        name="triton",
        note="Python backend, dynamic batching at its defaults; an instance a core",
        environment=_peer_environment,
        ask=_ask_triton,
        read=_read_oip,
        **_TRITON,
    ),
    Server(
        name="triton-grpc",
        note="the same, asked by gRPC; told the SLO as gRPC's deadline",
        environment=_triton_grpc_environment,
        ask=_ask_triton_grpc,
        read=grpc_client.probabilities_of,
        connect=connect_grpc,
        **_TRITON,
    ),
)
