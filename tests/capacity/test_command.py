"""The command an operator plans with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cxrserve.cli import app
from tests.capacity.test_hardware_file import described


def _asked(*arguments: str) -> tuple[int, str, str]:
    answer = CliRunner().invoke(app, ["capacity", *arguments], env={"COLUMNS": "200"})
    return answer.exit_code, answer.output, answer.stderr


@pytest.fixture
def hardware(tmp_path: Path) -> str:
    file = tmp_path / "hardware.yaml"
    slow = {"net": {"table": {"sizes": [1, 2], "seconds": [0.2, 0.4]}}}
    price = {"currency": "EUR", "core_hour": 0.04}
    file.write_text(yaml.safe_dump(described(models=slow, price=price)))
    return str(file)


def test_it_says_what_is_needed_and_shows_that_one_fewer_would_not_do(
    tmp_path: Path, hardware: str
) -> None:
    plan = tmp_path / "plan.json"
    code, said, _ = _asked(
        "--rate", "1200/min", "--slo", "1s", "--peak-factor", "2", "--hardware", hardware,
        "--requests", "1000", "--no-autoscaler", "--json", str(plan),
    )  # fmt: skip
    assert code == 0, said
    assert "ASSUMED, never measured by us: for a test" in said
    found = json.loads(plan.read_text())
    mean = found["mean"]
    assert mean["failed"]["replicas"] == mean["kept"]["replicas"] - 1
    for text in ("missed", "kept", "EUR a million images", "Mbit/s"):
        assert text in said
    assert found["cost"]["driver"] in said


def test_an_impossible_ask_is_an_error_that_says_why(hardware: str) -> None:
    code, _, said = _asked("--rate", "1/s", "--slo", "100ms", "--hardware", hardware)
    assert code == 1
    assert "one image alone takes 203.0 ms" in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--rate", "fast", "--slo", "1s"), "'fast' is no rate"),
        (("--rate", "1/s", "--slo", "soon"), "'soon' is no time"),
        (("--rate", "1/s", "--slo", "0s"), "above zero"),
        (("--rate", "1/s", "--slo", "1s", "--mix", "1,1,1"), "is no mix"),
        (("--rate", "1/s", "--slo", "1s", "--hardware", "abacus"), "abacus cannot be read"),
        (("--rate", "1/s", "--slo", "1s", "--model", "other"), "no model other"),
        (("--rate", "1/s", "--slo", "1s", "--balancer", "fair"), "no balancer fair"),
    ],
)
def test_what_is_not_understood_is_named(arguments: tuple[str, ...], told: str) -> None:
    code, _, said = _asked(*arguments)
    assert code == 2
    assert told in said
