"""A folder of images and what each is answered, before there is any load."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from cxrserve.answer import Answer
from cxrserve.client import Client
from cxrserve.errors import NotReadableAsChest
from load_tests.callers import films
from load_tests.callers.checking import TOLERANCE, largest_difference
from load_tests.callers.films import Expected, Film
from load_tests.callers.images import Drawn, drawn
from load_tests.callers.real_films import real_films

_PATIENCE_S = 60.0


class Unfit(Exception):
    """These images, or what they were answered, prove nothing; the message says why."""


def prepare(
    folder: Path, *, host: str, side: int = 2048, phantoms: int = 6, real: Path | None = None
) -> Path:
    """Make the images, ask about each once, and write all into `folder`.

    Args:
        folder: made if it is not there.
        host: address of a service that nobody else asks now; of several, the first is asked.
        side: of the largest DICOM image, in pixels.
        phantoms: how many chests are drawn.
        real: a folder with real films in `originals/` and `dicom/`, sent instead of phantoms. What
            the gate refuses is left out, and so is what is answered like another film.

    Returns:
        The folder.

    Raises:
        Unfit: a phantom is refused, or answered unlike the same pixels in another coding, or too
            much like another; or of real films one kind has none left.
        CxrError: the service does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sent = drawn(side=side, phantoms=phantoms) if real is None else real_films(real)
    with Client(host.split(",", maxsplit=1)[0], timeout_s=_PATIENCE_S) as client:
        found = [(one, _expected(client, one)) for one in sent]
    kept = fit(found)
    if len(kept) < len(found):
        left_out = f"{len(found) - len(kept)} of {len(found)} images are left out"
        if real is None:
            raise Unfit(f"{left_out}: refused, or answered like another")
        print(left_out, file=sys.stderr)
    if missing := {"dicom", "phone", "plain"} - {one.kind for one, _ in kept}:
        raise Unfit(f"no image of kind {sorted(missing)} is left")
    for one, _ in kept:
        (folder / one.name).write_bytes(one.data)
    return films.write(folder, [_film(number, *pair) for number, pair in enumerate(kept)])


def fit(found: Iterable[tuple[Drawn, Expected | None]]) -> list[tuple[Drawn, Expected]]:
    """Those images of which an answer can be known as theirs, over any protocol.

    Raises:
        Unfit: two codings of the same pixels are answered differently.
    """
    kept: list[tuple[Drawn, Expected]] = []
    for one, expected in found:
        if expected is not None and _can_be_told(one, expected, kept):
            kept.append((one, expected))
    return kept


def _can_be_told(one: Drawn, expected: Expected, kept: Sequence[tuple[Drawn, Expected]]) -> bool:
    for other, known in kept:
        if one.same_pixels is not None and one.same_pixels == other.same_pixels:
            if (expected.sha256, expected.probabilities) != (known.sha256, known.probabilities):
                raise Unfit(f"{one.about} is answered unlike {other.about}, of the same pixels")
        elif expected.sha256 != known.sha256:
            difference = largest_difference(expected.probabilities, known.probabilities)
            if difference <= 2 * TOLERANCE:
                return False
        elif one.same_pixels is not None:
            return False
    return True


def _expected(client: Client, one: Drawn) -> Expected | None:
    """None: the gate refuses it."""
    try:
        return expected_of(client.predict(one.data))
    except NotReadableAsChest:
        return None


def expected_of(answer: Answer) -> Expected:
    """What every later answer to the same image must say."""
    return Expected(
        sha256=answer.image.sha256,
        width=answer.image.width,
        height=answer.image.height,
        warnings=tuple(remark.code for remark in answer.image.warnings),
        digests={one.model.name: one.model.digest for one in answer.results},
        probabilities={
            one.model.name: {finding.label: finding.probability for finding in one.findings}
            for one in answer.results
        },
    )


def _film(number: int, one: Drawn, expected: Expected) -> Film:
    return Film(
        number=number,
        file=one.name,
        kind=one.kind,
        content_type=one.content_type,
        about=one.about,
        expected=expected,
    )
