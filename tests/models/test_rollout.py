"""Which version answers who names none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.models.rollout import Rollout


def rollout(pinned: str = "", canary: str = "", shadow: str = "") -> Rollout:
    return Rollout.read(pinned=pinned.split(), canaries=canary.split(), shadows=shadow.split())


@given(st.binary(max_size=40), st.floats(0, 100))
def test_the_same_key_meets_the_same_version(key: bytes, share: float) -> None:
    one = rollout(canary=f"triage@1.1.0={share:.3f}%")
    assert one.canary("triage", key) == one.canary("triage", key)


@given(st.binary(max_size=40))
def test_who_is_in_a_small_share_is_in_a_larger_one(key: bytes) -> None:
    """A canary that grows takes nobody back."""
    drawn = [rollout(canary=f"a@2={share}%").canary("a", key) for share in (0, 1, 10, 50, 100)]
    assert drawn[0] is None
    assert drawn[-1] == "2"
    assert drawn == sorted(drawn, key=lambda one: one is not None)


@pytest.mark.parametrize("share", [1, 10, 50])
def test_shares_are_what_they_say(share: int) -> None:
    one = rollout(canary=f"a@2={share}%", shadow=f"b@2={share}%")
    keys = [str(number).encode() for number in range(20_000)]
    for draw, name in ((one.canary, "a"), (one.shadow, "b")):
        count = sum(draw(name, key) == "2" for key in keys)
        assert count / len(keys) == pytest.approx(share / 100, abs=0.012)


def test_canary_and_shadow_are_drawn_apart() -> None:
    one = rollout(canary="a@2=50%", shadow="a@3=50%")
    keys = [str(number).encode() for number in range(2000)]
    both = sum(bool(one.canary("a", key)) == bool(one.shadow("a", key)) for key in keys)
    assert 850 < both < 1150


def test_other_models_are_left_alone() -> None:
    one = rollout(canary="a@2=100%")
    assert one.canary("b", b"") is None
    assert one.is_held_back("a", "2")
    assert not one.is_held_back("a", "1")
    assert not one.is_held_back("b", "2")


@pytest.mark.parametrize(
    ("pinned", "canary", "shadow"),
    [
        ("triage", "", ""),
        ("triage@", "", ""),
        ("triage@1.x", "", ""),
        ("triage@1.0.0 triage@1.1.0", "", ""),
        ("", "triage@1.1.0", ""),
        ("", "triage@1.1.0=101%", ""),
        ("", "triage@1.1.0=-1%", ""),
        ("", "", "triage@1.1.0=ten"),
        ("", "", "a@1=1% a@2=2%"),
    ],
)
def test_what_cannot_be_read_is_named(pinned: str, canary: str, shadow: str) -> None:
    with pytest.raises(ValueError, match="must be NAME@VERSION"):
        rollout(pinned, canary, shadow)
