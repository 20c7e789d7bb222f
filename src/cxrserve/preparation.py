"""From a file to what the networks take: read, checked by the gate, fitted to each network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve import answer as answers
from cxrserve.errors import NotReadableAsChest
from cxrserve.findings.overlay import as_shown
from cxrserve.models.preprocess import fit
from cxrserve.models.repository import LoadedModel
from cxrserve.radiograph.gate import QualityGate
from cxrserve.radiograph.radiograph import Radiograph
from cxrserve.reporting.image import image_seen

ReadRadiograph = Callable[[bytes, str | None], Radiograph]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An image that is ready for its networks, and small: who waits holds no full-size pixels.

    Attributes:
        image: what answers say of it.
        radiograph: its size and facts, without pixels.
        inputs: uint8 `[side, side]` for each model, in their order.
        shown: uint8 `[h, w]`, at most 1 MB, where a picture is to be drawn over it.
        began, read_s, prepared_s: when reading began, and what reading and the rest took.
    """

    image: answers.ImageSeen
    radiograph: Radiograph
    inputs: tuple[NDArray[np.uint8], ...]
    shown: NDArray[np.uint8] | None
    began: float
    read_s: float
    prepared_s: float


class Preparation:
    """Reads and checks images. Takes milliseconds of a processor: never on the event loop.

    Args:
        read: bytes and content type to radiograph, with limits and DICOM reader bound in.
        gate: the quality gate; None lets everything pass.
        clock: seconds, monotonic.
    """

    def __init__(
        self, read: ReadRadiograph, gate: QualityGate | None, clock: Callable[[], float]
    ) -> None:
        self._read, self._gate, self._clock = read, gate, clock

    def prepare(
        self,
        data: bytes,
        content_type: str | None,
        models: Sequence[LoadedModel],
        *,
        force: bool,
        picture: bool,
    ) -> Prepared:
        """Prepare one file for these models.

        Args:
            force: pass what the gate refuses.
            picture: keep what a picture is drawn over.

        Raises:
            UnsupportedUpload, UnreadableImage, UploadTooLarge: it cannot be read.
            NotReadableAsChest: the gate refuses it.
        """
        began = self._clock()
        radiograph = self._read(data, content_type)
        read = self._clock()
        remarks = self._gate.inspect(radiograph) if self._gate else ()
        refusing = [remark for remark in remarks if remark.refuses]
        if refusing and not force:
            raise NotReadableAsChest(
                "; ".join(remark.detail for remark in refusing),
                reasons=[remark.code for remark in refusing],
                advice="send a frontal chest radiograph, or ask with force=true",
                warnings=[remark.code for remark in remarks if not remark.refuses],
            )
        pixels, width, height = radiograph.pixels, radiograph.width, radiograph.height
        inputs = tuple(fit(pixels, model.manifest.input) for model in models)
        shown = as_shown(pixels, width, height) if picture else None
        return Prepared(
            image=image_seen(radiograph, remarks),
            radiograph=radiograph.without_pixels(),
            inputs=inputs,
            shown=shown,
            began=began,
            read_s=read - began,
            prepared_s=self._clock() - read,
        )
