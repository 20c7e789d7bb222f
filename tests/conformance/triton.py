"""A real Triton Inference Server with the models of this folder, started and stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

_HERE = Path(__file__).resolve().parent
ENVIRONMENT = _HERE.parents[1] / "load_tests" / "peers" / ".envs" / "triton"
MODELS = ("simple", "simple_identity")
_MINOR = "3.11"
_START_LIMIT_S = 90.0
_STOP_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Triton:
    """A Triton that listens: `url` for HTTP, `grpc` as host:port."""

    url: str
    grpc: str
    log: Path


def is_installed() -> bool:
    """Whether `load_tests/peers/environments triton` has been run."""
    return (_wheel() / "tritonserver" / "bin" / "tritonserver").is_file()


@contextmanager
def running_triton(scratch: Path) -> Iterator[Triton]:
    """Start Triton on free ports of 127.0.0.1; it is stopped at the end.

    Args:
        scratch: an empty folder for its model repository, its backends and its log.

    Raises:
        RuntimeError: it did not become ready; the message ends with its log.
    """
    http_port, grpc_port = _free_ports(2)
    triton = Triton(f"http://127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}", scratch / "log")
    with triton.log.open("wb") as log:
        process = subprocess.Popen(
            _command(scratch, http_port, grpc_port),
            env=_variables(),
            cwd=scratch,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_ready(triton, process)
        yield triton
    finally:
        _stop(process)
        _sweep(http_port)


def _command(scratch: Path, http_port: int, grpc_port: int) -> list[str]:
    return [
        str(_wheel() / "tritonserver" / "bin" / "tritonserver"),
        f"--model-repository={_model_repository(scratch)}",
        f"--backend-directory={_backends(scratch)}",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--http-address=127.0.0.1",
        f"--http-port={http_port}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc_port}",
        "--allow-metrics=false",
        "--exit-timeout-secs=5",
        f"--backend-config=python,shm-region-prefix-name={_shared_memory(http_port)}",
    ]


def _variables() -> dict[str, str]:
    # The Python backend's stub finds the virtual environment by the first `python3` in PATH, and
    # its libraries by the interpreter's own folder.
    python = ENVIRONMENT / "bin" / "python"
    folder = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    libraries = [str(_wheel().parent / "nvidia_pytriton.libs"), folder]
    programs = [str(ENVIRONMENT / "bin"), os.environ["PATH"]]
    return os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PATH": os.pathsep.join(programs),
    }


def _wheel() -> Path:
    return ENVIRONMENT / "lib" / f"python{_MINOR}" / "site-packages" / "pytriton"


def _model_repository(scratch: Path) -> Path:
    folder = scratch / "models"
    for model in MODELS:
        shutil.copytree(_HERE / model, folder / model)
    return folder


def _backends(scratch: Path) -> Path:
    """The Python backend with the stub of this Python beside it, as it expects."""
    triton = _wheel() / "tritonserver"
    folder = scratch / "backends" / "python"
    shutil.copytree(triton / "backends" / "python", folder)
    stub = "triton_python_backend_stub"
    shutil.copy(triton / "python_backend_stubs" / _MINOR / stub, folder)
    return folder.parent


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _await_ready(triton: Triton, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < limit and process.poll() is None:
        try:
            if httpx.get(f"{triton.url}/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.2)
    raise RuntimeError(f"Triton did not become ready:\n{triton.log.read_text()[-4000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _shared_memory(http_port: int) -> str:
    return f"conformance-{http_port}-"


def _sweep(http_port: int) -> None:
    # Triton may forget what its Python backend holds in shared memory.
    for left in Path("/dev/shm").glob(f"{_shared_memory(http_port)}*"):
        left.unlink(missing_ok=True)
