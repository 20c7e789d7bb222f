"""Fetches ONNX Runtime Web for reading on the user's own device: `make page`.

It is not committed (13 MB). npm brings the one version that is pinned here, from the registry that
it is set up with, and nothing is unpacked before its digest is that of the pin.
"""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from cxrserve.page.files import VENDOR

PACKAGE, VERSION = "onnxruntime-web", "1.26.0"
INTEGRITY = (
    "sha512-LbRr/8zZt2xilI2smrVQGGKINo0U46i8qJp+UXyMBGfqN7KjnH1BiwCwLwyNIVV4i9CKFv7Sf4PwLKWnT8/bEA"
    "=="
)
_WANTED = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
RUNTIME_FILES = tuple(f"vendor/{name}" for name in _WANTED)


class FetchFailed(Exception):
    """The package could not be fetched, or is not what the pin says."""


def unpacked(archive: bytes, integrity: str = INTEGRITY) -> dict[str, bytes]:
    """The wanted files of a package, by name.

    Args:
        archive: the `.tgz` that npm packs.
        integrity: its digest, as npm writes it.

    Raises:
        FetchFailed: another digest, or a file is missing.
    """
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if f"sha512-{digest}" != integrity:
        raise FetchFailed(f"{PACKAGE} {VERSION}: the digest is sha512-{digest}, not the pinned one")
    files = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for name in _WANTED:
            try:
                member = tar.extractfile(f"package/dist/{name}")
            except KeyError:
                member = None
            if member is None:
                raise FetchFailed(f"{PACKAGE} {VERSION} has no {name}")
            files[name] = member.read()
    return files


def fetch(folder: Path = VENDOR) -> None:
    """Fetch the package with npm and write its wanted files to `folder`.

    Raises:
        FetchFailed: npm is not here or fails, or brings something else.
    """
    with tempfile.TemporaryDirectory() as place:
        command = ["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"]
        try:
            subprocess.run(command, cwd=place, check=True, capture_output=True)  # noqa: S603
        except OSError as error:
            raise FetchFailed("npm is not installed") from error
        except subprocess.CalledProcessError as error:
            raise FetchFailed(f"npm failed: {error.stderr.decode(errors='replace')}") from error
        (archive,) = Path(place).glob("*.tgz")
        files = unpacked(archive.read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def main() -> None:
    """Fetch, and say what was done."""
    try:
        fetch()
    except FetchFailed as error:
        sys.exit(f"{error}; the page goes without reading on the user's own device")
    print(f"{PACKAGE} {VERSION} is in {VENDOR}")


if __name__ == "__main__":
    main()
