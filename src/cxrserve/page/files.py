"""The page's own files, each with its type and its digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).parent / "static"
# What `make page` fetches, see `vendor.py`; the page does without where it is absent.
VENDOR = STATIC / "vendor"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file: where it is asked for below `/ui/`, its media type, its bytes and their sha256."""

    name: str
    media_type: str
    data: bytes
    sha256: str


def page_files(folder: Path = STATIC) -> dict[str, PageFile]:
    """All files of the page by name, the vendored runtime among them where it was fetched."""
    files = {}
    for path in sorted(folder.rglob("*")):
        media_type = _TYPES.get(path.suffix)
        if media_type is None or not path.is_file():
            continue
        name, data = path.relative_to(folder).as_posix(), path.read_bytes()
        files[name] = PageFile(name, media_type, data, hashlib.sha256(data).hexdigest())
    return files
