"""`cxrserve conformance` as its users see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import typer
from typer.testing import CliRunner

from cxrserve.conformance.command import conformance
from tests.conformance.little_grpc import running_little_grpc

_app = typer.Typer()
_app.command()(conformance)


def test_a_server_that_is_right_ends_with_0(little_server: Callable[[str], str]) -> None:
    result = CliRunner().invoke(_app, [little_server("")])
    assert result.exit_code == 0, result.output
    assert "0 failed" not in result.output
    assert "passed" in result.output


def test_a_failure_ends_with_1_and_is_told(little_server: Callable[[str], str]) -> None:
    result = CliRunner().invoke(_app, [little_server("the id is lost")])
    assert result.exit_code == 1
    assert "the id comes back" in result.output


def test_a_difference_ends_with_1_only_if_strict(little_server: Callable[[str], str]) -> None:
    url = little_server("never 404")
    assert CliRunner().invoke(_app, [url]).exit_code == 0
    assert CliRunner().invoke(_app, [url, "--strict"]).exit_code == 1


def test_both_protocols_go_into_one_document(
    little_server: Callable[[str], str], tmp_path: Path
) -> None:
    document = tmp_path / "outcomes.json"
    with running_little_grpc() as address:
        arguments = [little_server(""), "--grpc", address, "--json", str(document)]
        result = CliRunner().invoke(_app, arguments)
    assert result.exit_code == 0, result.output
    written = json.loads(document.read_text("utf-8"))
    assert {outcome["protocol"] for outcome in written["outcomes"]} == {"HTTP", "gRPC"}
    assert sum(written["counts"].values()) == len(written["outcomes"])


def test_nobody_at_home_ends_with_2() -> None:
    result = CliRunner().invoke(_app, ["http://127.0.0.1:9"])
    assert result.exit_code == 2
