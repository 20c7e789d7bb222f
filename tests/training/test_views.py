"""What a training image may become, and what moves with it."""

from __future__ import annotations

import torch

from cxrserve.training.augment import augmented, shrunk
from cxrserve.training.erase import erased, painted_over
from cxrserve.training.recipe import Augmentation

MOVED = Augmentation(rotate_deg=10, shift=0.1, scale=0.1, mirror=True)


def gradient_film(side: int = 64) -> torch.Tensor:
    """uint8 `[1, 1, side, side]`, smooth, unlike its mirror image."""
    ramp = torch.linspace(40, 200, side)
    return (ramp[None, :] * 0.7 + ramp[:, None] * 0.3).to(torch.uint8)[None, None]


def test_a_map_moves_exactly_as_its_film_does() -> None:
    film = gradient_film().repeat(4, 1, 1, 1)
    both = augmented(torch.cat((film, film), 1), MOVED, randomness=torch.Generator().manual_seed(1))
    torch.testing.assert_close(both[:, 0], both[:, 1])
    assert not torch.equal(both[0, 0], both[1, 0])


def test_exposure_coarseness_and_grain_leave_the_map_alone() -> None:
    film = gradient_film()
    how = Augmentation(brightness=0.2, contrast=0.4, coarsen=0.5, grain=0.1)
    seen = augmented(torch.cat((film, film), 1), how, randomness=torch.Generator().manual_seed(2))
    torch.testing.assert_close(seen[:, 1], film[:, 0].float(), atol=1e-3, rtol=0)
    assert (seen[:, 0] - film[:, 0].float()).abs().mean() > 2


def test_a_smaller_side_keeps_the_picture() -> None:
    film = gradient_film(128)
    small = shrunk(film, 64)
    assert small.shape == (1, 1, 64, 64)
    assert (small.float().mean() - film.float().mean()).abs() < 1


def test_only_what_is_covered_is_painted_over_and_the_other_side_shows_there() -> None:
    film = torch.full((100, 100), 60, dtype=torch.uint8)
    film[40:50, 20:30] = 220  # a lesion
    cover = torch.zeros_like(film)
    cover[38:52, 18:32] = 255
    painted = painted_over(film, cover)
    assert painted[40:50, 20:30].float().max() < 70
    far = torch.ones_like(film, dtype=torch.bool)
    far[30:60, 10:40] = False
    assert torch.equal(painted[far], film[far])


def test_where_both_sides_are_ill_the_surroundings_stand_in() -> None:
    film = torch.full((96, 96), 60, dtype=torch.uint8)
    cover = torch.zeros_like(film)
    for left in (10, 70):
        film[40:56, left : left + 16] = 220
        cover[38:58, left - 2 : left + 18] = 255
    painted = painted_over(film, cover)
    assert painted[42:54, 12:24].float().max() < 90


def test_an_erased_film_has_no_box_left_and_others_are_painted_but_unchanged_in_kind() -> None:
    layers = torch.full((40, 2, 48, 48), 60, dtype=torch.uint8)
    layers[:, 1] = 0
    layers[:20, 0, 20:28, 8:16] = 200
    layers[:20, 1, 20:28, 8:16] = 255
    after, gone = erased(layers, share=0.5, randomness=torch.Generator().manual_seed(3))
    assert 4 < int(gone.sum()) < 16
    assert not gone[20:].any()
    assert not after[gone, 1].any()
    kept = ~gone[:20]
    assert torch.equal(after[:20][kept], layers[:20][kept])
    untouched, none = erased(layers, share=0.0, randomness=torch.Generator().manual_seed(4))
    assert torch.equal(untouched, layers)
    assert not none.any()
