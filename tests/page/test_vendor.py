"""ONNX Runtime Web is taken only if it is what the pin says."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from cxrserve.page import vendor


def _archive(names: tuple[str, ...]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for name in names:
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(name)
            tar.addfile(entry, io.BytesIO(name.encode()))
    return written.getvalue()


def _pin(archive: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(archive).digest()).decode()}"


def test_another_archive_than_the_pinned_one_is_not_unpacked() -> None:
    archive = _archive(("ort.wasm.min.mjs",))
    with pytest.raises(vendor.FetchFailed, match="not the pinned one"):
        vendor.unpacked(archive)


def test_only_what_is_wanted_is_unpacked() -> None:
    names = tuple(name.removeprefix("vendor/") for name in vendor.RUNTIME_FILES)
    archive = _archive((*names, "more.js"))
    assert set(vendor.unpacked(archive, _pin(archive))) == set(names)


def test_an_archive_without_a_wanted_file_is_refused() -> None:
    archive = _archive(("more.js",))
    with pytest.raises(vendor.FetchFailed, match="has no"):
        vendor.unpacked(archive, _pin(archive))


def test_no_npm_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(vendor.FetchFailed, match="npm is not installed"):
        vendor.fetch(tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()
