"""What lies in a model's folder, backend by backend."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from cxrserve.engines.films import films
from cxrserve.triton_export import tensorrt
from cxrserve.triton_export.config import (
    CONFIG,
    LABELS,
    WARM_UP,
    Served,
    config_of,
    parsed,
    written,
)
from cxrserve.triton_export.errors import NotExportable
from cxrserve.triton_export.wanted import Backend, Wanted

_EXECUTABLE = 0o755


def write_model(folder: Path, served: Served, wanted: Wanted) -> None:
    """Write configuration, labels, a phantom to warm up with, and what the backend runs.

    Args:
        folder: an empty one.

    Raises:
        NotExportable, BrokenPackage: the backend cannot take this graph.
    """
    config = config_of(served, wanted)
    text = written(config)
    if parsed(text) != config:
        raise NotExportable(f"{served.name}: {CONFIG} does not read as it was written")
    (folder / CONFIG).write_text(text, "utf-8")
    labels = [label.name for label in served.package.manifest.labels]
    (folder / LABELS).write_text("".join(f"{label}\n" for label in labels), "utf-8")
    (folder / "warmup").mkdir()
    (folder / "warmup" / WARM_UP).write_bytes(films(1, served.side).tobytes())
    (folder / served.version).mkdir()
    _WRITERS[wanted.backend](folder, served, wanted)


def _write_python(folder: Path, served: Served, wanted: Wanted) -> None:
    _write_onnx(folder, served, wanted)
    code = (files("cxrserve.triton_export") / "python_model.py").read_bytes()
    (folder / served.version / "model.py").write_bytes(code)


def _write_onnx(folder: Path, served: Served, _wanted: Wanted) -> None:
    graph = served.package.graph_bytes(served.graph)
    (folder / served.version / "model.onnx").write_bytes(graph)


def _write_tensorrt(folder: Path, served: Served, wanted: Wanted) -> None:
    tensorrt.refuse_int8(served.graph, served.name)
    (folder / "model.onnx").write_bytes(served.package.graph_bytes(served.graph))
    script = tensorrt.build_script(
        wanted, served.schedule, version=served.version, side=served.side
    )
    (folder / "build.sh").write_text(script, "utf-8")
    (folder / "build.sh").chmod(_EXECUTABLE)


def _write_pytorch(folder: Path, served: Served, _wanted: Wanted) -> None:
    if served.graph.precision != "fp32":
        raise NotExportable(
            f"{served.name}: only fp32 graphs can be converted to TorchScript, "
            f"{served.graph.file} is {served.graph.precision}",
            advice="export an fp32 graph (`cxrserve export --precision fp32`), "
            "or use --backend onnxruntime",
        )
    try:
        from cxrserve.triton_export.torchscript import torchscript  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise NotExportable(
            f"--backend pytorch needs {error.name}", advice="pip install 'cxrserve[torch]'"
        ) from error
    module = torchscript(served.package, served.graph, tuple(served.shapes))
    (folder / served.version / "model.pt").write_bytes(module)


_WRITERS = {
    Backend.PYTHON: _write_python,
    Backend.ONNXRUNTIME: _write_onnx,
    Backend.TENSORRT: _write_tensorrt,
    Backend.PYTORCH: _write_pytorch,
}
