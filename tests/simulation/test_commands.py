"""The command an operator runs."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from cxrserve.cli import app
from cxrserve.engines.latency import LatencyTable


def test_a_load_is_offered_to_every_rule_and_written_down(tmp_path: Path) -> None:
    table, figures, drawing = (tmp_path / name for name in ("t.json", "f.json", "p.png"))
    table.write_text(json.dumps(LatencyTable.flat(0.01).as_dict()))
    command = ["simulate", "--table", str(table), "--count", "200", "--clients", "2"]
    answer = CliRunner().invoke(app, [*command, "--json", str(figures), "--plot", str(drawing)])
    assert answer.exit_code == 0, answer.output
    written = json.loads(figures.read_text())
    names = {row["dispatcher"] for row in written["dispatchers"]}
    assert names == {"cxrserve", "bentoml", "triton", "window", "batch 1"}
    assert all(row["served"] <= written["bound"] for row in written["dispatchers"])
    assert drawing.stat().st_size > 1000


def test_a_wrong_table_is_named() -> None:
    answer = CliRunner().invoke(app, ["simulate", "--table", "none"])
    assert answer.exit_code == 2
    assert "no table none" in answer.stderr


def _slow(folder: Path) -> str:
    file = folder / "slow.json"
    file.write_text(json.dumps({"sizes": [1], "seconds": [0.4], "independent": True}))
    return str(file)


def test_autoscalers_are_compared_in_a_table_and_drawn(tmp_path: Path) -> None:
    figures, drawing = tmp_path / "f.json", tmp_path / "p.png"
    answer = CliRunner().invoke(
        app,
        [
            "simulate", "autoscale", "--table", _slow(tmp_path), "--slots", "1", "--base", "0.3",
            "--compare", "deployed,keda,wait@0.2+cpu", "--seeds", "1", "--slo-s", "30",
            "--deadline-s", "5", "--json", str(figures), "--plot", str(drawing),
        ],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    rows = [line for line in answer.output.splitlines() if line.startswith("| 0.3 ")]
    assert [row.split("|")[2].strip() for row in rows] == ["deployed", "keda", "wait@0.2+cpu"]
    written = json.loads(figures.read_text())
    for row, one in zip(rows, written, strict=True):
        (outcome,) = one["outcomes"]
        assert f"{outcome['in_time']:.1%}" in row
        assert ("kept" in row) == outcome["kept"] == (outcome["in_time"] >= 0.99)
    assert drawing.stat().st_size > 1000


def test_a_signal_that_is_not_known_is_named(tmp_path: Path) -> None:
    for arguments, told in (
        (["--compare", "mood"], "no signal mood"),
        (["--compare", "keda", "--k8s", str(tmp_path)], "cannot be read"),
        (["--base", "much"], "could not convert"),
    ):
        answer = CliRunner().invoke(app, ["simulate", "autoscale", *arguments])
        assert answer.exit_code == 2
        assert told in answer.stderr


def test_measured_tables_have_names() -> None:
    answer = CliRunner().invoke(
        app, ["simulate", "--table", "densenet121-cpu", "--count", "50", "--load", "0.5"]
    )
    assert answer.exit_code == 0, answer.output
    # A batch of two gains a little: 54.75 were measured one by one.
    assert "57 images/s" in answer.output
