"""Which version of a model answers who names none: the newest, a pinned one, for a share a canary.

The same image meets the same version, over every protocol and at every replica: lots are drawn from
what was sent, not from chance.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_PIN = re.compile(r"([a-z0-9][a-z0-9-]*)@(\d+(?:\.\d+){0,2})")
_SHARE = re.compile(rf"{_PIN.pattern}=(\d+(?:\.\d+)?)%?")


@dataclass(frozen=True, slots=True)
class Share:
    """A version, and the share (0..1) of questions it is asked."""

    version: str
    share: float


@dataclass(frozen=True, slots=True)
class Rollout:
    """The rules, by a model's name.

    Attributes:
        pinned: versions that answer.
        canaries: versions that answer a share of the questions in their place.
        shadows: versions that are asked a share as well, and whose answers are only compared.
    """

    pinned: Mapping[str, str] = field(default_factory=dict)
    canaries: Mapping[str, Share] = field(default_factory=dict)
    shadows: Mapping[str, Share] = field(default_factory=dict)

    @classmethod
    def read(
        cls, *, pinned: Sequence[str], canaries: Sequence[str], shadows: Sequence[str]
    ) -> Rollout:
        """From settings: `name@1.0.0`, and `name@1.1.0=10%`.

        Raises:
            ValueError: one is written otherwise, a model stands twice, or a share is over 100 %.
        """
        pins: dict[str, str] = {}
        for text in pinned:
            found = _PIN.fullmatch(text)
            if found is None or found[1] in pins:
                raise ValueError(f"{text!r} must be NAME@VERSION, each name once")
            pins[found[1]] = found[2]
        return cls(pins, _shares(canaries), _shares(shadows))

    def __bool__(self) -> bool:
        """There are canaries or shadows: lots are to be drawn."""
        return bool(self.canaries or self.shadows)

    def is_held_back(self, name: str, version: str) -> bool:
        """It answers nobody who does not name it, but for a canary's share."""
        rules = (self.canaries.get(name), self.shadows.get(name))
        return any(rule is not None and rule.version == version for rule in rules)

    def canary(self, name: str, key: bytes) -> str | None:
        """The version whose share a question falls into, if it falls into one."""
        return _drawn(self.canaries.get(name), b"canary", key)

    def shadow(self, name: str, key: bytes) -> str | None:
        """The version to be asked as well, if a question falls into its share."""
        return _drawn(self.shadows.get(name), b"shadow", key)

    def named(self) -> list[tuple[str, str]]:
        """Every name and version that a rule is about."""
        shares = (*self.canaries.items(), *self.shadows.items())
        return [*self.pinned.items(), *((name, one.version) for name, one in shares)]


def _shares(texts: Sequence[str]) -> dict[str, Share]:
    shares: dict[str, Share] = {}
    for text in texts:
        found = _SHARE.fullmatch(text)
        if found is None or found[1] in shares or float(found[3]) > 100:
            raise ValueError(f"{text!r} must be NAME@VERSION=SHARE%, each name once")
        shares[found[1]] = Share(found[2], float(found[3]) / 100)
    return shares


def _drawn(rule: Share | None, what: bytes, key: bytes) -> str | None:
    if rule is None:
        return None
    lot = hashlib.blake2b(key, digest_size=8, salt=what).digest()
    return rule.version if int.from_bytes(lot) < rule.share * 2**64 else None
