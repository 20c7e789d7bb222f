"""This service speaks the protocol as the suite has it that a real Triton passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrserve.conformance.command import ask_grpc, ask_http
from cxrserve.conformance.model import Options
from cxrserve.conformance.verdicts import Verdict
from cxrserve.radiograph.phantom import write_phantom
from tests.acceptance.conftest import Server

pytestmark = pytest.mark.server

# What is listed though no extension says so, and Triton's names for two log settings.
_KNOWN_DIFFERENCES = {
    "system regions are listed or refused",
    "CUDA regions are listed or refused",
    "log settings are named as documented",
    "a version that is no number is refused",
}


@pytest.mark.parametrize(
    ("model", "given", "most_unasked"),
    [("nih14-cnn", "pixels", 60), ("lungs-unet", "pixels", 75), ("triage", "image", 110)],
)
def test_no_check_fails_and_only_known_ones_differ(
    server: Server, tmp_path: Path, model: str, given: str, most_unasked: int
) -> None:
    film = tmp_path / "film.png"
    write_phantom(film, side=256, seed=0)
    options = Options(
        model=model,
        inputs=(given,),
        payload=film.read_bytes() if given == "image" else None,
    )
    outcomes = [*ask_http(server.url, options), *ask_grpc(server.grpc, options)]
    assert not [one for one in outcomes if one.verdict is Verdict.FAILED]
    differing = {one.check for one in outcomes if one.verdict is Verdict.DIFFERS}
    assert differing <= _KNOWN_DIFFERENCES
    unasked = (Verdict.NOT_OFFERED, Verdict.NOT_APPLICABLE)
    assert sum(one.verdict in unasked for one in outcomes) <= most_unasked
