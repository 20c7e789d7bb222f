"""What a model takes and gives, as the Open Inference Protocol describes it."""

from __future__ import annotations

from dataclasses import dataclass

from cxrserve.models.repository import LoadedModel
from cxrserve.oip.tensors import BYTES

PIXELS, IMAGE = "pixels", "image"
LOGITS, PROBABILITIES, MASK = "logits", "probabilities", "mask"
PLATFORM = "cxrserve"
MOST_IMAGES = 64
"""Images of one request; our batcher forms the batches, of these and of others."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of one image: `dims` are without the batch.

    `labels`: names of its elements, where they have some.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    labels: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """With the batch in front, which may have any size."""
        return (-1, *self.dims)


def wire_version(version: str) -> str:
    """A package's version as the protocol's clients can read it: a whole number.

    Triton's versions are whole numbers, and its tools count on it (perf_analyzer reads them as
    such and finds no statistics otherwise). 2.0.0 is 2; 1.10.2, 1010002.
    """
    parts = [int(part) for part in version.split(".")]
    major, minor, patch = (*parts, 0, 0)[:3]
    return str(major) if not minor and not patch else f"{major}{minor:03d}{patch:03d}"


def inputs_of(model: LoadedModel) -> tuple[Port, ...]:
    """Either of these is given: what the network takes, or files that are read and checked here."""
    side = model.manifest.input.side
    return Port(PIXELS, "UINT8", (1, side, side)), Port(IMAGE, BYTES, (1,))


def outputs_of(model: LoadedModel) -> tuple[Port, ...]:
    """What the network gives and, of a classifier, its calibrated probabilities."""
    shapes = model.engine.shapes
    labels = tuple(label.name for label in model.manifest.labels)
    ports = [
        Port(name, "FP32", dims, labels[: len(dims) == 1 and len(labels)])
        for name, dims in shapes.items()
    ]
    if LOGITS in shapes:
        ports.insert(1, Port(PROBABILITIES, "FP32", shapes[LOGITS], labels))
    return tuple(ports)
