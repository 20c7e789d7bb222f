"""The servers that are compared: how each is started, asked and read.

To add one, add it to `SERVERS`; another protocol brings its own `connect`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from load_tests.bench.http_client import request_bytes
from load_tests.bench.server import Place, Probabilities, Server
from load_tests.bench.subject import Subject

ROOT = Path(__file__).resolve().parents[2]
_PEERS = ROOT / "load_tests" / "peers"
_BOUNDARY = "phantom-phantom-phantom"


def _ours(*, gate: str) -> Callable[[Place, Subject], dict[str, str]]:
    def environment(place: Place, subject: Subject) -> dict[str, str]:
        # A container's limit is not what os.cpu_count() says, so an operator sets the threads.
        return {
            "CXRSERVE_HOST": "127.0.0.1",
            "CXRSERVE_HTTP_PORT": str(place.http_port),
            "CXRSERVE_GRPC_PORT": str(place.grpc_port),
            "CXRSERVE_MODELS_DIR": str(subject.models_dir),
            "CXRSERVE_GATE": gate,
            "CXRSERVE_PROCESSORS": str(place.cores),
            "CXRSERVE_CACHE_DIR": "off",  # its latency table is measured under this pinning
        }

    return environment


def _ask_ours(subject: Subject, image: bytes, deadline_ms: float | None) -> bytes:
    query = {"model": subject.model}
    if deadline_ms is not None:
        query["deadline_ms"] = f"{deadline_ms:.0f}"
    target = f"/v1/predict?{urlencode(query)}"
    return request_bytes("POST", target, image, content_type="image/jpeg")


def _read_ours(body: bytes) -> Probabilities:
    (result,) = json.loads(body)["results"]
    return [finding["probability"] for finding in result["findings"]]


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


def _serve_bento(place: Place) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(place.http_port)]
    return ["-m", "bentoml", "serve", "load_tests.peers.bentoml.server:Chest", *where]


def _script(peer: str) -> Callable[[Place], list[str]]:
    return lambda _: [str(_PEERS / peer / "server.py")]


def _python(peer: str) -> Path:
    return _PEERS / ".envs" / peer / "bin" / "python"


def _ask_raw(subject: Subject, image: bytes, deadline_ms: float | None) -> bytes:
    return request_bytes("POST", "/predict", image, content_type="image/jpeg")


def _ask_form(part: str) -> Callable[[Subject, bytes, float | None], bytes]:
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{part}"; filename="film.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )

    kind = f"multipart/form-data; boundary={_BOUNDARY}"

    def ask(subject: Subject, image: bytes, deadline_ms: float | None) -> bytes:
        form = head.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return request_bytes("POST", "/predict", form, content_type=kind)

    return ask


def _ask_mlserver(subject: Subject, image: bytes, deadline_ms: float | None) -> bytes:
    # MLServer's REST knows no binary tensors.
    tensor = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(image).decode("ascii")],
    }
    body = json.dumps({"inputs": [tensor]}).encode()
    return request_bytes("POST", "/v2/models/chest/infer", body, content_type="application/json")


def _ask_triton(subject: Subject, image: bytes, deadline_ms: float | None) -> bytes:
    # The Open Inference Protocol with Triton's binary tensors.
    element = len(image).to_bytes(4, "little") + image
    tensor = {
        "name": "image",
        "shape": [1, 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(element)},
    }
    header = json.dumps({"inputs": [tensor]}).encode()
    return request_bytes(
        "POST",
        "/v2/models/chest/infer",
        header + element,
        content_type="application/octet-stream",
        Inference_Header_Content_Length=str(len(header)),
    )


def _read_probabilities(body: bytes) -> Probabilities:
    return list(json.loads(body)["probabilities"])


def _read_first_row(body: bytes) -> Probabilities:
    return list(json.loads(body)[0])


def _read_oip(body: bytes) -> Probabilities:
    return list(json.loads(body)["outputs"][0]["data"])


def _our_server(name: str, gate: str, note: str) -> Server:
    return Server(
        name=name,
        note=note,
        python=ROOT / ".venv" / "bin" / "python",
        distribution="cxrserve",
        arguments=lambda _: ["-m", "cxrserve.cli", "serve"],
        environment=_ours(gate=gate),
        ready="/readyz",
        ask=_ask_ours,
        read=_read_ours,
    )


_BENTOML: dict[str, Any] = {
    "python": _python("bentoml"),
    "distribution": "bentoml",
    "arguments": _serve_bento,
    "ready": "/readyz",
    "ask": _ask_form("images"),
    "read": _read_first_row,
}
_LITSERVE: dict[str, Any] = {
    "python": _python("litserve"),
    "distribution": "litserve",
    "arguments": _script("litserve"),
    "ready": "/health",
    "ask": _ask_form("image"),
    "read": _read_probabilities,
}

SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        _our_server("ours", "on", "as shipped: its quality gate runs a second network"),
        _our_server("ours-ungated", "off", "without the quality gate: the peers' work and no more"),
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
            python=_python("triton"),
            distribution="nvidia-pytriton",
            arguments=_script("triton"),
            environment=_peer_environment,
            ready="/v2/models/chest/ready",
            ask=_ask_triton,
            read=_read_oip,
        ),
    )
}
