"""The Triton of the tests can be killed, hung and started again where it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from load_tests.peers.triton_server import NOT_INSTALLED, Triton, is_installed, running_triton

from tests.tiny_package import write_tiny_package
from tests.triton.commands import export_triton

pytestmark = pytest.mark.server


@pytest.fixture
def triton(tmp_path: Path) -> Iterator[Triton]:
    if not is_installed():
        pytest.skip(NOT_INSTALLED)
    write_tiny_package(tmp_path / "packages" / "tiny")
    assert export_triton(tmp_path / "models", tmp_path / "packages").exit_code == 0
    with running_triton(tmp_path / "models", tmp_path) as server:
        yield server


def _live(triton: Triton, timeout_s: float = 2.0) -> bool:
    try:
        return httpx.get(f"{triton.url}/v2/health/ready", timeout=timeout_s).status_code == 200
    except httpx.TransportError:
        return False


def test_it_comes_back_on_its_ports_after_it_was_killed(triton: Triton) -> None:
    first = triton.pid
    triton.kill()
    assert not _live(triton)
    triton.start()
    assert _live(triton)
    assert triton.pid != first


def test_it_hangs_and_goes_on(triton: Triton) -> None:
    triton.suspend()
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{triton.url}/v2/health/ready", timeout=0.5)
    triton.resume()
    assert _live(triton, 10)


def test_it_is_stopped_even_while_it_hangs(triton: Triton) -> None:
    triton.suspend()
    triton.stop()
    assert not _live(triton)
