"""The graph contract (design decision 3), held by whatever runs the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.engine import Engine, Masks, Outputs, Runs
from cxrserve.errors import BrokenPackage, EngineFailure
from cxrserve.models.package import ModelPackage

_CAM_TOLERANCE = 1e-3


class Network(Runs, Protocol):
    """A graph in some runtime: arrays in, arrays out. `run` may be called from several threads."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """Element types by name, as numpy calls them."""

    @property
    def outputs(self) -> Mapping[str, str]:
        """Element types by name, as numpy calls them."""

    def run(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """Every output of one batch of `pixels`, by name.

        Raises:
            EngineFailure: the runtime failed.
        """


def engine_of(network: Network, package: ModelPackage) -> Engine:
    """The network as the engine that its package's task asks for.

    Raises:
        BrokenPackage: it does not keep the contract of the task.
    """
    kind = Segmenter if package.manifest.task == "segmentation" else Classifier
    engine: Engine = kind(
        network, labels=len(package.manifest.labels), side=package.manifest.input.side
    )
    return engine


class _Contract:
    """A network that was held against the contract when it was loaded.

    Args:
        network: what runs the graph.
        labels: number of outputs that the package declares.
        side: input side in pixels.

    Raises:
        BrokenPackage: the graph does not keep the contract.
    """

    _gives: tuple[str, ...]

    def __init__(self, network: Network, *, labels: int, side: int) -> None:
        self.name = network.name
        self.precision = network.precision
        self.slots = network.slots
        self.independent_slots = network.independent_slots
        self._network = network
        self._labels = labels
        self.shapes: Mapping[str, tuple[int, ...]] = {}
        self._check_names()
        rng = np.random.default_rng(0)
        self._check_contract(rng.integers(0, 256, (2, 1, side, side), np.uint8))

    def close(self) -> None:
        """See `Engine.close`."""
        self._network.close()

    def _check_names(self) -> None:
        if dict(self._network.inputs) != {"pixels": "uint8"}:
            raise BrokenPackage("the graph must have one input: `pixels`, uint8")
        outputs = dict(self._network.outputs)
        if any(outputs.get(name) != "float32" for name in self._gives):
            wanted = " and ".join(f"`{name}`" for name in self._gives)
            raise BrokenPackage(f"the graph must give {wanted}, float32; it gives {outputs}")

    def _check_contract(self, pixels: NDArray[np.uint8]) -> None:
        """Run two images of noise, and compare what comes out with what the package declares."""
        raise NotImplementedError


class Classifier(_Contract):
    """A classifier: `logits` and `cam`."""

    _gives = ("logits", "cam")

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """See `Engine.run`."""
        outputs = self._network.run(pixels)
        if not np.isfinite(outputs["logits"]).all():
            raise EngineFailure("the network gave logits that are not finite")
        return Outputs(outputs["logits"], outputs["cam"], self._bias)

    def _check_contract(self, pixels: NDArray[np.uint8]) -> None:
        outputs = self._network.run(pixels)
        logits, cam = outputs["logits"], outputs["cam"]
        expected = (len(pixels), self._labels)
        if logits.shape != expected or cam.ndim != 4 or cam.shape[:2] != expected:
            raise BrokenPackage(
                f"the graph gives logits {logits.shape} and maps {cam.shape} "
                f"for {self._labels} labels"
            )
        # mean(cam) + bias == logit: the bias is whatever is left, so it must be left everywhere.
        self.shapes = {"logits": logits.shape[1:], "cam": cam.shape[1:]}
        bias = logits - cam.mean(axis=(2, 3))
        if not np.abs(bias[0] - bias[1]).max() <= _CAM_TOLERANCE:
            raise BrokenPackage("the graph breaks mean(cam) + bias == logit")
        self._bias: NDArray[np.float32] = bias[0]


class Segmenter(_Contract):
    """A segmentation model: `mask`, probabilities."""

    _gives = ("mask",)

    def run(self, pixels: NDArray[np.uint8]) -> Masks:
        """See `Engine.run`."""
        mask = self._network.run(pixels)["mask"]
        # Not a number is in no range.
        if not (mask.min() >= 0 and mask.max() <= 1):
            raise EngineFailure("the network gave a mask that is not within 0..1")
        return Masks(mask)

    def _check_contract(self, pixels: NDArray[np.uint8]) -> None:
        mask = self._network.run(pixels)["mask"]
        if mask.ndim != 4 or mask.shape[:2] != (len(pixels), self._labels) or not mask.size:
            raise BrokenPackage(f"the graph gives a mask {mask.shape} for {self._labels} labels")
        self.shapes = {"mask": mask.shape[1:]}
        try:
            self.run(pixels)
        except EngineFailure as error:
            raise BrokenPackage(f"the graph breaks its contract: {error.detail}") from error
