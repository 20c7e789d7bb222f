"""The gate's network: what it must offer, and how the packaged one is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from cxrserve.errors import BrokenPackage, EngineFailure
from cxrserve.models.manifest import Input, Manifest
from cxrserve.models.package import read_package
from cxrserve.models.preprocess import fit


class GateNetwork(Protocol):
    """Tells what a thumbnail shows. Calls may come from several threads at once."""

    @property
    def side(self) -> int:
        """Side of the square thumbnail it reads, in pixels."""
        ...

    def __call__(self, pixels: NDArray[np.uint8]) -> Mapping[str, float]:
        """Probability of each class; the classes do not exclude each other.

        Args:
            pixels: uint8 `[side, side]`, air dark, as `thumbnail` makes it.
        """
        ...


def thumbnail(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The whole image on black: uint8 `[height, width]` to uint8 `[side, side]`."""
    # Averaging whole blocks first is many times faster than one wide filter, and looks the same.
    factor = max(pixels.shape) // (4 * side)
    if factor > 1:
        height, width = pixels.shape
        reduced = Image.fromarray(pixels).reduce((min(factor, width), min(factor, height)))
        pixels = np.asarray(reduced)
    return fit(pixels, Input(side=side, fit="pad"))


def load_gate_network(package: Path) -> GateNetwork:
    """The network of a model package with the task `gate`, on ONNX Runtime with one thread.

    Args:
        package: folder with `model.yaml` and the graph it names.

    Raises:
        BrokenPackage: a file is missing, altered, or is not what a gate needs.
    """
    checked = read_package(package)
    manifest = checked.manifest
    if manifest.task != "gate" or manifest.activation != "sigmoid" or manifest.input.fit != "pad":
        raise _broken(package, "it is not a gate with sigmoid outputs on a padded thumbnail")
    content = checked.graph_bytes(checked.graph("fp32"))
    return OnnxGateNetwork(manifest, _session(package, content))


class OnnxGateNetwork:
    """Sigmoid of the logits of a graph that keeps the graph contract (design decision 3)."""

    def __init__(self, manifest: Manifest, session: onnxruntime.InferenceSession) -> None:
        self._labels = tuple(label.name for label in manifest.labels)
        self._temperature = manifest.calibration.temperature
        self._side = manifest.input.side
        self._session = session

    @property
    def side(self) -> int:
        return self._side

    def __call__(self, pixels: NDArray[np.uint8]) -> Mapping[str, float]:
        try:
            (logits,) = self._session.run(["logits"], {"pixels": pixels[None, None]})
        except Exception as error:
            # ONNX Runtime's exceptions share no other parent.
            raise EngineFailure("the gate's network failed", cause=type(error).__name__) from error
        with np.errstate(over="ignore"):
            probabilities = 1.0 / (1.0 + np.exp(-logits[0] / self._temperature))
        return dict(zip(self._labels, probabilities.tolist(), strict=True))


def _session(package: Path, graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # It runs inside a decoding thread: more threads of its own would take cores from the engines.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            graph, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise _broken(package, "ONNX Runtime cannot load its graph") from error
    if [node.name for node in session.get_inputs()] != ["pixels"]:
        raise _broken(package, "its graph must have the one input 'pixels'")
    return session


def _broken(package: Path, what: str) -> BrokenPackage:
    return BrokenPackage(
        f"gate package {package.name!r}: {what}",
        advice="install the package again, or train it with python -m cxrserve.training.gate",
    )
