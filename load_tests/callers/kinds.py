"""The kinds of caller: what share of the films each sends, and until when it wants an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of caller.

    Attributes:
        share: of all films, where every kind takes part.
        images: kinds of image that it sends, see `films.Film.kind`.
        deadlines_ms: priority → time for the answer, told to the service; a later answer is none in
            time.
        protocol: http, grpc (cxrserve.v1.Radiology) or oip (ModelInfer over gRPC).
    """

    share: float
    images: tuple[str, ...]
    deadlines_ms: dict[str, float]
    protocol: str


# A stat film is looked at by somebody who stands beside the patient; a portal's user waits for a
# page; nobody waits for a back-fill.
KINDS: dict[str, Kind] = {
    "hospital": Kind(
        share=0.40,
        images=("dicom",),
        deadlines_ms={"stat": 1_500.0, "urgent": 3_000.0, "routine": 10_000.0},
        protocol="http",
    ),
    "telemedicine": Kind(
        share=0.20,
        images=("phone",),
        deadlines_ms={"routine": 5_000.0},
        protocol="http",
    ),
    "back-fill": Kind(
        share=0.20,
        images=("plain", "dicom"),
        deadlines_ms={"routine": 60_000.0},
        protocol="http",
    ),
    "grpc": Kind(
        share=0.12,
        images=("dicom", "plain"),
        deadlines_ms={"urgent": 3_000.0, "routine": 10_000.0},
        protocol="grpc",
    ),
    "oip": Kind(
        share=0.08,
        images=("plain",),
        deadlines_ms={"routine": 5_000.0},
        protocol="oip",
    ),
}

STAT_SHARE = 0.15
"""Of a hospital's films."""
STAT_BURST = 4
"""Films of one stat burst, sent at once: an accident brings several."""
URGENT_SHARE = 0.25
"""Of the films that are not stat, where a kind has urgent ones."""
BATCH = 8
"""Films of a back-fill's request."""
