"""What is minimised is what the recipe names."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from cxrserve.training import losses

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(6, 3, generator=GENERATOR)
ONE_HOT = functional.one_hot(torch.tensor([0, 1, 2, 0, 1, 2]), 3).float()


def test_the_weighted_loss_of_classes_is_pytorchs() -> None:
    weights = torch.tensor([1.0, 2.0, 0.5])
    each = losses.multi_class(LOGITS, ONE_HOT, weights, smoothing=0.0, gamma=0.0)
    wanted = functional.cross_entropy(LOGITS, ONE_HOT.argmax(1), weight=weights, reduction="none")
    torch.testing.assert_close(each, wanted)


def test_a_class_without_trustworthy_films_takes_no_part() -> None:
    targets = ONE_HOT[:2].clone()
    targets[:, 2] = torch.nan
    weights = torch.ones(3)
    each = losses.multi_class(LOGITS[:2], targets, weights, smoothing=0.1, gamma=0.0)
    changed = LOGITS[:2].clone()
    changed[:, 2] += 50
    again = losses.multi_class(changed, targets, weights, smoothing=0.1, gamma=0.0)
    torch.testing.assert_close(each, again)
    assert torch.isfinite(each).all()


def test_a_finding_that_is_not_known_takes_no_part() -> None:
    targets = torch.tensor([[1.0, 0.0, torch.nan]])
    weights = torch.ones(2, 3)
    each = losses.multi_label(LOGITS[:1], targets, weights, smoothing=0.0, gamma=0.0)
    wanted = functional.binary_cross_entropy_with_logits(LOGITS[:1, :2], targets[:, :2])
    torch.testing.assert_close(each[0], wanted)


def test_focusing_forgives_what_is_already_right() -> None:
    sure = torch.tensor([[6.0, -6.0]])
    unsure = torch.tensor([[0.2, -0.2]])
    targets, weights = torch.tensor([[1.0, 0.0]]), torch.ones(2, 2)
    for logits, kept in ((sure, 1e-4), (unsure, 0.15)):
        plain = losses.multi_label(logits, targets, weights, smoothing=0.0, gamma=0.0)
        focal = losses.multi_label(logits, targets, weights, smoothing=0.0, gamma=2.0)
        assert focal < plain
        assert (focal / plain < kept) == (kept == 1e-4)


def test_attention_is_least_where_the_map_peaks_in_the_box() -> None:
    boxes = torch.zeros(1, 56, 56)
    boxes[0, 8:16, 8:16] = 1
    inside, outside = torch.zeros(1, 7, 7), torch.zeros(1, 7, 7)
    inside[0, 1, 1], outside[0, 5, 5] = 5.0, 5.0
    assert losses.attention(inside, boxes) < losses.attention(outside, boxes)
    # The height of the map is free: the logit is made of it.
    torch.testing.assert_close(losses.attention(inside + 3, boxes), losses.attention(inside, boxes))
    assert losses.attention(inside, torch.zeros(1, 56, 56)) == 0


def test_absence_is_all_that_an_erased_film_says() -> None:
    p = LOGITS.softmax(dim=1)[:, 2]
    torch.testing.assert_close(losses.absent(LOGITS, 2, exclusive=True), -(1 - p).log())
    p = LOGITS[:, 2].sigmoid()
    torch.testing.assert_close(losses.absent(LOGITS, 2, exclusive=False), -(1 - p).log())


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn(exclusive: bool) -> None:
    student = LOGITS.clone().requires_grad_(True)
    each = losses.distillation(student, LOGITS, temperature=2.0, exclusive=exclusive)
    (gradient,) = torch.autograd.grad(each.sum(), student)
    assert gradient.abs().max() < 1e-6
    far = losses.distillation(-LOGITS, LOGITS, temperature=2.0, exclusive=exclusive)
    assert (far > each).all()


def test_a_perfect_outline_costs_next_to_nothing() -> None:
    masks = (torch.rand(2, 2, 16, 16, generator=GENERATOR) > 0.5).float()
    assert losses.outline(40 * masks - 20, masks).max() < 1e-3
    assert losses.outline(20 - 40 * masks, masks).min() > 1
