"""The folder that Triton reads: what may be written there, and how a model comes in whole."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cxrserve.triton_export.config import CONFIG, parsed
from cxrserve.triton_export.errors import NotExportable

_SHOWN = 3


def check_folder(folder: Path, names: Iterable[str], *, force: bool) -> None:
    """Make the folder if it is not there; nothing that is not ours is ever replaced.

    Args:
        folder: the model repository.
        names: of the models to come.
        force: other things may lie beside them.

    Raises:
        NotExportable: it holds what no export wrote, and `force` is off or a name is taken by it.
    """
    if folder.exists() and not folder.is_dir():
        raise NotExportable(f"{folder} is a file", advice="name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    foreign = sorted(entry.name for entry in folder.iterdir() if not _is_ours(entry))
    if foreign and not force:
        shown = ", ".join(foreign[:_SHOWN]) + (", …" if len(foreign) > _SHOWN else "")
        raise NotExportable(
            f"{folder} holds what no export wrote: {shown}",
            advice="name an empty folder, or --force to write beside it",
        )
    taken = sorted(set(foreign) & set(names))
    if taken:
        raise NotExportable(
            f"{folder / taken[0]} was not written by an export and is not replaced",
            advice="move it away, or name another folder",
        )


@contextmanager
def replacing(folder: Path, name: str) -> Iterator[Path]:
    """An empty folder to build a model in; it takes the name when the block ends without error.

    It lies beside the repository: inside, a Triton that starts meanwhile takes it for a model
    that is broken, hidden or not, and ends.

    Raises:
        NotExportable: nothing can be renamed from there into the repository.
    """
    place = folder.resolve()
    target = place / name
    with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as scratch:
        new, old = Path(scratch, name), Path(scratch, "old")
        new.mkdir()
        yield new
        try:
            if target.exists():
                target.rename(old)
            new.rename(target)
        except OSError as error:
            if old.exists():
                old.rename(target)
            if error.errno != errno.EXDEV:
                raise
            raise NotExportable(
                f"{folder} is where a volume is mounted: nothing can be moved into it whole",
                advice="name a folder inside of it",
            ) from error


def _is_ours(entry: Path) -> bool:
    """Written by an export: its configuration says by which version, and from which package."""
    try:
        config = parsed((entry / CONFIG).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return {"cxrserve_version", "digest"} <= set(config.parameters)
