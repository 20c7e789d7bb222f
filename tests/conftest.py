"""What several rooms' tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

# Time limits are for the tests that measure time: on a busy machine any example may be slow.
settings.register_profile("cxrserve", deadline=None)
settings.load_profile("cxrserve")

_ROOT = Path(__file__).resolve().parents[1]
_DCMTK = ("dcmcjpeg", "dcmcjpls", "dcmconv", "dcmcrle", "dcmj2pnm", "gdcmconv")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real radiographs; tests on it are skipped where it is absent."""
    folder = Path(os.environ.get("CXRSERVE_DATA_DIR", _ROOT.parent / "shared" / "data"))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"real radiographs are not here ({folder}); set CXRSERVE_DATA_DIR")
    return folder


@pytest.fixture(scope="session")
def dcmtk() -> None:
    """Debian's dcmtk and gdcm tools; tests that compare with them are skipped without them."""
    missing = [tool for tool in _DCMTK if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (apt-get install dcmtk libgdcm-tools)")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A throwaway certificate and key for localhost."""
    chain, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(chain)],
        check=True, capture_output=True,
    )  # fmt: skip
    return chain, key
