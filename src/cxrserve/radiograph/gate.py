"""The quality gate: is this a readable chest radiograph, and what makes a reading doubtful?

Pure: it reads pixels and facts, and asks a network that it was given. See `docs/quality-gate.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cxrserve.radiograph.gate_network import GateNetwork, thumbnail
from cxrserve.radiograph.gate_rules import RULES, GateLimits, ReasonCode, Remark
from cxrserve.radiograph.radiograph import Radiograph

__all__ = ["GateLimits", "QualityGate", "ReasonCode", "Remark"]


class QualityGate:
    """Rules on what the file says, and a small network on what the pixels show.

    Args:
        network: made by `load_gate_network`; None leaves the rules alone.
        limits: the thresholds; `GateLimits()` if not given.
    """

    def __init__(self, network: GateNetwork | None, limits: GateLimits | None = None) -> None:
        self._network = network
        self._limits = limits or GateLimits()

    def inspect(self, radiograph: Radiograph) -> tuple[Remark, ...]:
        """All remarks on one image, at most one of each code, refusing ones first.

        The same image gets the same remarks in the same order. Safe to call from several threads.

        Raises:
            EngineFailure: the network could not be run.
        """
        remarks: dict[str, Remark] = {}
        for remark in self._all(radiograph):
            remarks.setdefault(remark.code, remark)
        return tuple(remarks[code] for code in ReasonCode if code in remarks)

    def _all(self, radiograph: Radiograph) -> Iterator[Remark]:
        for rule in RULES:
            yield from rule(radiograph, self._limits)
        # A phantom of ours is there to be answered, and its pixels were never a patient's.
        if self._network is not None and not radiograph.facts.phantom:
            seen = self._network(thumbnail(radiograph.pixels, self._network.side))
            yield from seen_remarks(seen, self._limits.probability)


_TURNED = {
    "rotated_90": "clockwise by 90°; turn it counter-clockwise",
    "rotated_180": "upside down; turn it by 180°",
    "rotated_270": "counter-clockwise by 90°; turn it clockwise",
}


def seen_remarks(seen: Mapping[str, float], threshold: float) -> Iterator[Remark]:
    """What the network's probabilities mean; a class it does not have is taken as not seen.

    How a chest is turned, inverted or photographed means nothing for what is no chest.
    """

    def shows(name: str) -> bool:
        return seen.get(name, 0.0) >= threshold

    if shows("not_a_chest"):
        if shows("not_a_radiograph"):
            yield Remark.of(ReasonCode.NOT_A_RADIOGRAPH, "the pixels do not look like a radiograph")
        else:
            yield Remark.of(
                ReasonCode.NOT_A_CHEST, "the pixels do not look like a frontal chest radiograph"
            )
        return
    turned = max(_TURNED, key=lambda name: seen.get(name, 0.0))
    if shows(turned):
        yield Remark.of(
            ReasonCode.ROTATED,
            f"the chest is turned {_TURNED[turned]} and send it again, or ask with force=true",
        )
    if shows("inverted"):
        yield Remark.of(
            ReasonCode.INVERTED, "the chest looks inverted: air is bright where it should be dark"
        )
    if shows("photo_of_film"):
        yield Remark.of(
            ReasonCode.PHOTO_OF_FILM,
            "this looks like a photograph of a film or a screen; send the original image",
        )
    if shows("phantom"):
        yield Remark.of(ReasonCode.PHANTOM, "the pixels look like a drawn phantom, not a patient")
