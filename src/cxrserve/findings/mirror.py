"""Test-time augmentation: a film and its mirror image, read as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.engine import Outputs


def mirrored(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Right and left of `[..., h, w]` exchanged."""
    return np.ascontiguousarray(pixels[..., ::-1])


def mean_of(plain: Outputs, mirror: Outputs) -> Outputs:
    """The mean of both readings; maps are averaged after mirroring back.

    Mean and bias being linear, `mean(cam) + bias == logit` holds for it as for each.
    """
    half = np.float32(0.5)
    return Outputs(
        logits=half * (plain.logits + mirror.logits),
        cam=half * (plain.cam + mirror.cam[..., ::-1]),
        bias=plain.bias,
    )
