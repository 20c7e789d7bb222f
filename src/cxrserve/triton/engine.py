"""A model that Tritons run, as an engine: the same answers as the engine here, made elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.engine import Engine, Errand, Masks, Outputs
from cxrserve.engines.films import films
from cxrserve.engines.parity import BOUNDS
from cxrserve.errors import BrokenPackage, EngineFailure, EngineUnavailable
from cxrserve.models.package import ModelPackage
from cxrserve.oip.interface import wire_version
from cxrserve.triton.cluster import Cluster
from cxrserve.triton.endpoint import Call, Endpoint, Tensors

Given = TypeVar("Given")

_IN_FLIGHT = 2
"""Batches at once where a GPU runs them: one is copied while the other is computed."""

# Of a batch, where no Triton has said so yet: exported models take more.
_LARGEST = 8
# A verification, and a batch that nobody set a limit to.
_LIMIT_S = 10.0
_PROBE_LIMIT_S = 2.0
# float32 sums over a map of logits; half precision on a GPU rounds them.
_CAM_TOLERANCE = 0.05


class TritonEngine:
    """One package on a cluster of Tritons.

    What comes back is checked as the package's contract has it: shapes, finite numbers, and that a
    class map explains its logit, so that rows which were mixed up are seen.

    Args:
        cluster: that holds it.
        package: what the Tritons must hold: their model's digest is compared with its.
        local: an engine that runs it here; the Tritons' answers are compared with its, and it
            stands in for them if `stands_in`.
    """

    independent_slots = True

    def __init__(
        self, cluster: Cluster, package: ModelPackage, local: Engine, *, stands_in: bool
    ) -> None:
        self.name = f"triton-{local.precision}"
        self.model = package.manifest.name
        self.precision, self.shapes = local.precision, local.shapes
        self.stand_in: Engine | None = local if stands_in else None
        """What runs the package here while no Triton does."""
        self.slots, self.largest = _IN_FLIGHT * len(cluster.endpoints), _LARGEST
        self._cluster, self._package = cluster, package
        self._outputs = tuple(sorted(self.shapes))
        self._version = str(wire_version(package.manifest.version))
        self._tell: Callable[[], None] = lambda: None
        self._films = films(2, package.manifest.input.side)
        expected = local.run(self._films)
        self._bias = expected.bias if isinstance(expected, Outputs) else None
        self._expected = _tensors_of(expected)
        if not stands_in:
            local.close()
        self._on_loop(cluster.add(self))

    # -- as an engine, from the threads of a device

    @property
    def is_available(self) -> bool:
        """See `RemoteEngine.is_available`."""
        return self._cluster.takes(self.model)

    def run(self, pixels: NDArray[np.uint8]) -> Outputs | Masks:
        """See `Engine.run`."""
        until = self._cluster.now() + _LIMIT_S
        return self.run_errand(pixels, Errand(deadline=until, expected_s=_LIMIT_S))

    def run_errand(self, pixels: NDArray[np.uint8], errand: Errand) -> Outputs | Masks:
        """See `RemoteEngine.run_errand`."""
        given = self._on_loop(
            self._cluster.infer(
                self._call(pixels, errand.level), errand, gives_up=self.stand_in is not None
            ),
            errand,
        )
        if self._bias is None:
            return Masks(given["mask"])
        return Outputs(given["logits"], given["cam"], self._bias)

    def when_out_of_reach(self, tell: Callable[[], None]) -> None:
        """See `RemoteEngine.when_out_of_reach`."""
        self._tell = tell

    def close(self) -> None:
        """See `Engine.close`."""
        self._cluster.remove(self)
        if self.stand_in is not None:
            self.stand_in.close()

    # -- as a delegate, on the event loop

    async def verify(self, endpoint: Endpoint, *, by_running: bool) -> None:
        """See `Delegate.verify`."""
        config = await endpoint.config_of(self.model, self._version)
        self._check_digest(config)
        if not by_running:
            return
        self.slots = _slots_of(config) * len(self._cluster.endpoints)
        self.largest = max(1, int(config.get("max_batch_size", 1)))
        self._says_to_run_in(_parameter(config, "precision"))
        pixels = self._films[: self.largest]
        given = await endpoint.ask(self._call(pixels), _PROBE_LIMIT_S)
        self._check_parity(given, len(pixels))

    def is_out_of_reach(self) -> None:
        """See `Delegate.is_out_of_reach`."""
        self._tell()

    def _call(self, pixels: NDArray[np.uint8], level: int = 0) -> Call:
        return Call(
            model=self.model,
            version=self._version,
            pixels=pixels,
            outputs=self._outputs,
            check=lambda tensors: self._check(tensors, len(pixels)),
            level=level,
        )

    def _says_to_run_in(self, precision: str) -> None:
        if precision in BOUNDS:
            self.precision, self.name = precision, f"triton-{precision}"

    def _check_parity(self, given: Tensors, images: int) -> None:
        bound = BOUNDS[self.precision]
        for name, expected in self._expected.items():
            difference = float(np.quantile(np.abs(given[name] - expected[:images]), 0.99))
            if name != "cam" and difference > bound:
                raise BrokenPackage(
                    f"its {name} differ from the engine's here by {difference:.2g}, "
                    f"allowed are {bound:g}",
                    advice="export the package again",
                )

    def _check_digest(self, config: Mapping[str, Any]) -> None:
        said = _parameter(config, "digest") or "none"
        if said != self._package.digest:
            raise BrokenPackage(
                f"its digest there is {said}, the package's is {self._package.digest}",
                advice="export the package again: cxrserve export triton DIR",
            )

    def _check(self, tensors: Tensors, images: int) -> None:
        for name, shape in self.shapes.items():
            tensor = tensors.get(name)
            if tensor is None or tensor.shape != (images, *shape) or tensor.dtype != np.float32:
                raise EngineUnavailable(
                    f"Triton gave {name} of {self.model} as {_described(tensor)}, "
                    f"not as float32 {(images, *shape)}"
                )
        broken = self._broken(tensors)
        if broken.all():
            raise EngineUnavailable(f"Triton gave outputs of {self.model} that cannot be its own")
        if broken.any():
            raise EngineFailure(f"{self.model} failed on {broken.sum()} of {images} images")

    def _broken(self, tensors: Tensors) -> NDArray[np.bool_]:
        """Which images' outputs are not what the package's contract has; bool `[N]`."""
        if self._bias is None:
            mask = tensors["mask"]
            # Not a number is in no range.
            inside = (mask.min(axis=(1, 2, 3)) >= 0) & (mask.max(axis=(1, 2, 3)) <= 1)
        else:
            unexplained = tensors["cam"].mean(axis=(2, 3)) + self._bias - tensors["logits"]
            inside = np.abs(unexplained).max(axis=1) <= _CAM_TOLERANCE
        return np.asarray(~inside)

    def _on_loop(self, work: Coroutine[Any, Any, Given], errand: Errand | None = None) -> Given:
        future = asyncio.run_coroutine_threadsafe(work, self._cluster.loop)
        if errand is not None:
            errand.on_stop(future.cancel)
        try:
            return future.result()
        except CancelledError as error:
            raise EngineUnavailable("nobody waited for it any more") from error


def _tensors_of(outputs: Outputs | Masks) -> dict[str, NDArray[np.float32]]:
    if isinstance(outputs, Masks):
        return {"mask": outputs.mask}
    return {"logits": outputs.logits, "cam": outputs.cam}


def _parameter(config: Mapping[str, Any], name: str) -> str:
    return str(config.get("parameters", {}).get(name, {}).get("string_value", ""))


def _slots_of(config: Mapping[str, Any]) -> int:
    """Batches that one endpoint should have at once."""
    slots = 0
    for group in config.get("instance_group", ()):
        count = int(group.get("count", 1))
        if group.get("kind") == "KIND_CPU":
            slots += count
        else:
            slots += _IN_FLIGHT * count * max(1, len(group.get("gpus", ())))
    return max(1, slots)


def _described(tensor: NDArray[Any] | None) -> str:
    return "nothing" if tensor is None else f"{tensor.dtype} {tensor.shape}"
