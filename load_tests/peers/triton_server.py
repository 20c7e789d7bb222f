"""A real Triton Inference Server on any model repository: started, killed, hung, started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

_ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = _ROOT / "load_tests" / "peers" / ".envs" / "triton"
NOT_INSTALLED = "no Triton here; `load_tests/peers/environments triton` installs one"
_MINOR = "3.11"
_START_LIMIT_S = 90.0
_STOP_LIMIT_S = 30.0
# A stub says that it is alive every 0.3 s.
_STUB_ALIVE_S = 0.5


class Triton:
    """A Triton on ports of 127.0.0.1 that stay its own from one start to the next.

    Args:
        models: its model repository.
        scratch: a folder for its backends and its log.

    Attributes:
        url: of HTTP.
        grpc: host:port.
        log: what all its runs wrote.
    """

    def __init__(self, models: Path, scratch: Path) -> None:
        http_port, grpc_port = _free_ports(2)
        self.url = f"http://127.0.0.1:{http_port}"
        self.grpc = f"127.0.0.1:{grpc_port}"
        self.log = scratch / "log"
        self._scratch = scratch
        self._shared_memory = f"cxrserve-test-{http_port}-"
        self._command = [
            str(_wheel() / "tritonserver" / "bin" / "tritonserver"),
            f"--model-repository={models}",
            f"--backend-directory={_backends(scratch)}",
            "--model-control-mode=explicit",
            "--load-model=*",
            "--http-address=127.0.0.1",
            f"--http-port={http_port}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={grpc_port}",
            "--allow-metrics=false",
            "--exit-timeout-secs=5",
            f"--backend-config=python,shm-region-prefix-name={self._shared_memory}",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the server's process, which is also the group of its stubs."""
        assert self._process is not None, "Triton is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it says that it and all its models are ready.

        Raises:
            RuntimeError: it did not become ready; the message ends with its log.
        """
        assert self._process is None, "Triton is running"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a wheel of ours
                self._command,
                env=_variables(),
                cwd=self._scratch,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        limit = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < limit and self._process.poll() is None:
            if self._is_ready():
                return
            time.sleep(0.2)
        raise RuntimeError(f"Triton did not become ready:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        """End it as an operator does (SIGTERM), by force if it does not."""
        process = self._process
        if process is None:
            return
        # One that is suspended would never hear of it.
        self.resume()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            process.wait()
        self._ended()

    def kill(self) -> None:
        """End it and its stubs at once (SIGKILL), as the kernel does where memory runs out."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self._ended()

    def suspend(self) -> None:
        """Hang it (SIGSTOP): its ports accept connections, and nothing is ever answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT), its stubs first: a server that finds them not yet alive ends."""
        if self._process is not None and self._process.poll() is None:
            for stub in psutil.Process(self.pid).children(recursive=True):
                stub.resume()
            time.sleep(_STUB_ALIVE_S)
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _ended(self) -> None:
        self._process = None
        # Triton may forget what its Python backend holds in shared memory.
        for left in Path("/dev/shm").glob(  # noqa: S108 - where shared memory is
            f"{self._shared_memory}*"
        ):
            left.unlink(missing_ok=True)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False  # it does not listen yet


def is_installed() -> bool:
    """Whether `load_tests/peers/environments triton` has been run."""
    return (_wheel() / "tritonserver" / "bin" / "tritonserver").is_file()


@contextmanager
def running_triton(models: Path, scratch: Path) -> Iterator[Triton]:
    """Start Triton on a model repository; it is stopped at the end, whatever was done to it.

    Args:
        models: the repository.
        scratch: an empty folder for its backends and its log.

    Raises:
        RuntimeError: it did not become ready; the message ends with its log.
    """
    triton = Triton(models, scratch)
    try:
        triton.start()
        yield triton
    finally:
        triton.stop()


def _variables() -> dict[str, str]:
    # The Python backend's stub finds the virtual environment by the first `python3` in PATH, and
    # its libraries by the interpreter's own folder.
    python = ENVIRONMENT / "bin" / "python"
    folder = subprocess.run(  # noqa: S603 - a wheel of ours
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


def _backends(scratch: Path) -> Path:
    """The Python backend with the stub of this Python beside it, as it expects."""
    triton = _wheel() / "tritonserver"
    folder = scratch / "backends" / "python"
    shutil.copytree(triton / "backends" / "python", folder)
    stub = "triton_python_backend_stub"
    shutil.copy(triton / "python_backend_stubs" / _MINOR / stub, folder)
    return folder.parent


def _free_ports(count: int) -> Sequence[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
