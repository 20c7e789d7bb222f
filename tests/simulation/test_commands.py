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
