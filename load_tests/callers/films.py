"""The images that callers send, and what each of them must be answered: `films.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

INDEX = "films.json"

Probabilities = dict[str, dict[str, float | None]]
"""Model → label → probability; None: nothing trained it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an image was answered when nobody else asked.

    Attributes:
        sha256: of the decoded pixels, as the service says it.
        width, height: in pixels.
        probabilities: see there.
        digests: model → digest of its files.
        warnings: codes, in order.
    """

    sha256: str
    width: int
    height: int
    probabilities: Probabilities
    digests: dict[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One image.

    Attributes:
        number: its place in the index.
        file: its name beside the index.
        kind: dicom, phone or plain.
        content_type: what callers call it.
        about: how it was made, for people: transfer syntax, size.
        expected: see there.
        alternatives: what other releases of the models answer, where one takes over meanwhile.
    """

    number: int
    file: str
    kind: str
    content_type: str
    about: str
    expected: Expected
    alternatives: tuple[Expected, ...] = ()
    data: bytes = field(default=b"", repr=False, compare=False)


def write(folder: Path, films: Sequence[Film]) -> Path:
    """Write the index of a folder that holds the files already; gives the folder."""
    rows = [
        {
            "file": film.file,
            "kind": film.kind,
            "content_type": film.content_type,
            "about": film.about,
            "expected": asdict(film.expected),
            "alternatives": [asdict(one) for one in film.alternatives],
        }
        for film in films
    ]
    (folder / INDEX).write_text(json.dumps({"films": rows}, indent=1), "utf-8")
    return folder


def read(folder: Path) -> list[Film]:
    """The films of a folder, with their bytes.

    Raises:
        OSError: it has no index, or a file is missing.
    """
    rows = json.loads((folder / INDEX).read_text("utf-8"))["films"]
    return [
        Film(
            number=number,
            file=row["file"],
            kind=row["kind"],
            content_type=row["content_type"],
            about=row["about"],
            expected=_expected(row["expected"]),
            alternatives=tuple(_expected(one) for one in row["alternatives"]),
            data=(folder / row["file"]).read_bytes(),
        )
        for number, row in enumerate(rows)
    ]


def _expected(told: dict[str, Any]) -> Expected:
    return Expected(**told | {"warnings": tuple(told["warnings"])})
