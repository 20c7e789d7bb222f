"""Each alert fires when it should and is silent when it should be: played on made-up series.

The cases are promtool's own files, in `alerts/`. Two things are added to them here: which rules
they are about, taken out of the manifests, and of what an alert says the parts that never change.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from load_tests.peers import debian

from tests.k8s.monitoring import groups, rules, write_rules

_CASES = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))

needs_promtool = pytest.mark.skipif(
    not debian.program("promtool"), reason=debian.not_here("prometheus")
)


def _promtool(*arguments: str) -> str:
    program = debian.program("promtool")
    assert program
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    count = len(rules("record")) + len(rules("alert"))
    said = _promtool("check", "rules", "--lint-fatal", str(write_rules(tmp_path)))
    assert f"SUCCESS: {count} rules found" in said


@needs_promtool
@pytest.mark.parametrize("file", _CASES, ids=lambda file: str(file.stem))
def test_alerts_fire_and_are_silent_as_they_should(file: Path, tmp_path: Path) -> None:
    write_rules(tmp_path)
    cases = _read(file) | {
        "rule_files": ["rules.yaml"],
        # As Prometheus would, but for one look at most: what is recorded first.
        "group_eval_order": [group["name"] for group in groups()],
    }
    for expected in _expected(cases):
        expected["exp_annotations"] |= {
            name: text
            for name, text in _annotations(expected["alertname"]).items()
            if name != "description"
        }
        del expected["alertname"]
    played = tmp_path / "cases.yaml"
    played.write_text(yaml.safe_dump(cases, sort_keys=False))
    _promtool("test", "rules", str(played))


def _read(file: Path) -> dict[str, Any]:
    text = file.read_text()
    # promtool reads `0x20` as 32, once.
    assert not re.search(r"(?:values:|\s)\s*0x\d", text), "write 0+0x20"
    cases: dict[str, Any] = yaml.safe_load(text)
    return cases


def _expected(cases: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for test in cases["tests"]:
        for look in test.get("alert_rule_test", []):
            for alert in look["exp_alerts"]:
                alert["alertname"] = look["alertname"]
                found.append(alert)
    return found


def _annotations(name: str) -> dict[str, str]:
    told: dict[str, str] = next(one for one in rules("alert") if one["alert"] == name)[
        "annotations"
    ]
    return told


def test_every_alert_is_seen_to_fire_and_to_be_silent() -> None:
    fired, silent = set(), set()
    for file in _CASES:
        for test in _read(file)["tests"]:
            for look in test.get("alert_rule_test", []):
                for alert in look["exp_alerts"]:
                    fired.add((look["alertname"], alert["exp_labels"].get("long")))
                if not look["exp_alerts"]:
                    silent.add(look["alertname"])
    assert fired == {(one["alert"], one["labels"].get("long")) for one in rules("alert")}
    assert silent == {name for name, _ in fired}
