"""The files that are sent: in memory, on disk or open; and what an answer calls them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cxrserve.client.errors import UnreadableFile

Source = bytes | str | os.PathLike[str] | BinaryIO
"""The bytes of an image, a path to them, or an open binary file."""

File = Source | tuple[str, Source]
"""A source; with a name of its own where it has none or a better one."""


@dataclass(frozen=True, slots=True)
class NamedSource:
    """One of many files; its name may hold a patient's, so it shows in no `repr`."""

    index: int
    name: str = field(repr=False)
    source: Source = field(repr=False)


def named_sources(files: Iterable[File]) -> Iterator[NamedSource]:
    """Number the files and name them: as was given, or as the path ends, or not at all.

    Raises:
        TypeError: `files` is one file.
    """
    if isinstance(files, str | bytes):
        raise TypeError("several files are asked for: give a list, or call predict")
    for index, file in enumerate(files):
        name, source = file if isinstance(file, tuple) else (_name_of(file), file)
        yield NamedSource(index, name, source)


def bytes_of(source: Source) -> bytes:
    """All of a source.

    Raises:
        UnreadableFile: it cannot be opened or read.
    """
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes() if isinstance(source, str | os.PathLike) else source.read()
    except OSError as error:
        reason = error.strerror or type(error).__name__
    # Raised out here, or the error would carry the other along as its context, and that the path.
    raise UnreadableFile(f"the file cannot be read: {reason}", advice="check its path and rights")


def _name_of(source: Source) -> str:
    return Path(source).name if isinstance(source, str | os.PathLike) else ""
