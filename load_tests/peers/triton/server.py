"""A real Triton Inference Server, from the wheel `nvidia-pytriton`, with the Python backend.

Builds a model repository and becomes `tritonserver`. The wheel has no ONNX Runtime backend.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from load_tests.peers import network

# Dynamic batching as Triton's optimization guide starts with: on, its defaults, no delay; an
# instance a core, one thread of ONNX Runtime each.
_CONFIG = """
name: "chest"
backend: "python"
max_batch_size: 8
input [{{ name: "image" data_type: TYPE_STRING dims: [ 1 ] }}]
output [{{ name: "probabilities" data_type: TYPE_FP32 dims: [ -1 ] }}]
dynamic_batching {{ }}
instance_group [{{ count: {instances} kind: KIND_CPU }}]
"""


def main() -> None:
    """Lay out what Triton reads, then become it."""
    wheel = _wheel()
    triton = wheel / "tritonserver"
    models, backends = _model_repository(), _backends(triton)
    libraries = [str(wheel.parent / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
    # The stub embeds an interpreter that ignores PYTHONPATH: it finds the virtual environment by
    # the first `python3` in PATH, and this repository as its working directory.
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(libraries), "PATH": programs}
    command = [str(triton / "bin" / "tritonserver"), "--model-repository", str(models)]
    command += ["--backend-directory", str(backends), "--http-address", "127.0.0.1"]
    command += ["--http-port", str(network.port()), *_grpc()]
    command += ["--allow-metrics", "false", "--exit-timeout-secs", "5"]
    # A name of its own in shared memory: `bench/session.py` deletes what Triton forgets there.
    command += [f"--backend-config=python,shm-region-prefix-name=bench-{network.port()}-"]
    os.chdir(os.environ["PYTHONPATH"])
    os.execve(command[0], command, environment)  # noqa: S606


def _grpc() -> list[str]:
    port = os.environ.get("BENCH_GRPC_PORT")
    if port is None:
        return ["--allow-grpc", "false"]
    return ["--allow-grpc", "true", "--grpc-address", "127.0.0.1", "--grpc-port", port]


def _wheel() -> Path:
    found = importlib.util.find_spec("pytriton")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _model_repository() -> Path:
    folder = network.scratch() / "models"
    version = folder / "chest" / "1"
    version.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("model.py"), version)
    (folder / "chest" / "config.pbtxt").write_text(_CONFIG.format(instances=network.cores()))
    return folder


def _backends(triton: Path) -> Path:
    """The Python backend with the stub of this very Python beside it, as it expects."""
    folder = network.scratch() / "backends"
    shutil.copytree(triton / "backends" / "python", folder / "python")
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = "triton_python_backend_stub"
    shutil.copy(triton / "python_backend_stubs" / minor / stub, folder / "python")
    return folder


if __name__ == "__main__":
    main()
