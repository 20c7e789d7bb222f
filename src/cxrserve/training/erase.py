"""Paint lesions over: films that show everything about their source but not the disease.

Where every film of a disease comes from one place, a network need only learn the place. A film of
that place whose lesions were painted over is an example without the disease, which only a network
that looks at the lesion gets right. Other films are painted over in as many places, so that the
paint itself says nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def erased(layers: Tensor, *, share: float, randomness: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paint over some films of a batch.

    Args:
        layers: uint8 `[n, C, S, S]`: the film first, what the boxes cover (0 or 255) last.
        share: of the films with boxes, and of those without.
        randomness: where the draws come from.

    Returns:
        The batch, and bool `[n]`: which films had boxes and have none any more.
    """
    drawn = torch.rand(len(layers), generator=randomness) < share
    boxed = layers[:, -1].flatten(1).amax(dim=1) > 0
    if not drawn.any():
        return layers, drawn
    layers = layers.clone()
    patterns = layers[boxed, -1]
    for index in torch.nonzero(drawn).flatten().tolist():
        if boxed[index]:
            cover = layers[index, -1]
        elif len(patterns):
            # The boxes of some film of the batch, on either side.
            which = int(torch.randint(len(patterns), (1,), generator=randomness))
            cover = patterns[which]
            if torch.rand(1, generator=randomness) < 0.5:
                cover = cover.flip(-1)
        else:
            continue
        layers[index, 0] = painted_over(layers[index, 0], cover)
        if boxed[index]:
            layers[index, -1] = 0
    return layers, drawn & boxed


def painted_over(film: Tensor, cover: Tensor) -> Tensor:
    """The film uint8 `[S, S]` with what `cover` marks taken from the other side of the chest.

    Where the other side is marked too, the film's own surroundings, blurred, stand in. The seam is
    feathered over a fiftieth of the side.
    """
    side = film.shape[-1]
    own, marked = film.float()[None, None], (cover > 127).float()[None, None]
    mirrored, both = own.flip(-1), marked * marked.flip(-1)
    wide = _surroundings(own, 1 - marked)
    stand_in = mirrored * (1 - both) + wide * both
    reach = max(1, side // 50)
    grown = functional.max_pool2d(marked, 2 * reach + 1, stride=1, padding=reach)
    blend = _blurred(grown, reach)
    return (own * (1 - blend) + stand_in * blend).round().clamp(0, 255).to(torch.uint8)[0, 0]


def _surroundings(film: Tensor, clear: Tensor) -> Tensor:
    """Mean of what is clear within a sixth of the side, worked out on a small copy."""
    small = 32
    weight = functional.adaptive_avg_pool2d(clear, small)
    seen = functional.adaptive_avg_pool2d(film * clear, small)
    mean = _blurred(seen, small // 6) / _blurred(weight, small // 6).clamp(min=1e-3)
    return functional.interpolate(mean, film.shape[-2:], mode="bilinear")


def _blurred(image: Tensor, reach: int) -> Tensor:
    """Mean over (2 · reach + 1)² pixels, by rows and then by columns."""
    size = 2 * reach + 1
    rows = functional.avg_pool2d(
        image, (1, size), stride=1, padding=(0, reach), count_include_pad=False
    )
    return functional.avg_pool2d(
        rows, (size, 1), stride=1, padding=(reach, 0), count_include_pad=False
    )
