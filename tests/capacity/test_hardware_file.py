"""Hardware is described in a file; what is wrong in it is said with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cxrserve.capacity.hardware_file import SHIPPED, HardwareError, read_hardware


def described(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a box",
        "assumed": "for a test",
        "replica": {"cores": 2, "memory_gib": 4},
        "models": {"net": {"table": {"sizes": [1, 2], "seconds": [0.03, 0.05]}, "service_ms": 1}},
        "images": {"jpeg": {"bytes": 100_000, "decode_ms": 3}},
        **changes,
    }


def written(folder: Path, data: Any) -> str:
    file = folder / "hardware.yaml"
    file.write_text(yaml.safe_dump(data))
    return str(file)


def test_a_replica_is_what_the_simulator_needs(tmp_path: Path) -> None:
    found = read_hardware(written(tmp_path, described())).hardware("net", "jpeg")
    assert (found.slots, found.independent) == (2, True)
    assert found.host_s == pytest.approx(0.004)
    assert found.rate() == pytest.approx(2 / 0.029)


def test_on_a_gpu_two_batches_are_in_flight_and_cores_read(tmp_path: Path) -> None:
    data = described(replica={"cores": 8, "gpus": 1, "memory_gib": 16})
    found = read_hardware(written(tmp_path, data)).hardware("net", "jpeg")
    assert (found.slots, found.independent, found.host_threads) == (2, False, 8)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_table_may_be_what_the_service_answers(tmp_path: Path, wrapped: bool) -> None:
    table = {"sizes": [1, 4], "seconds": [0.01, 0.02], "drift": 1.0}
    (tmp_path / "net.json").write_text(json.dumps({"latency": table} if wrapped else table))
    data = described(models={"net": {"table": "net.json"}})
    found = read_hardware(written(tmp_path, data)).hardware("net", "jpeg")
    assert found.table.seconds(4) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"replica": {"cores": 0, "memory_gib": 4}}, r"replica\.cores: .*greater than.*got 0"),
        ({"replica": {"cores": 2, "memory_gib": 4, "ram": 1}}, r"replica\.ram: Extra"),
        ({"models": {}}, "models: "),
        ({"models": {"net": {"table": {"sizes": [2], "seconds": [1.0]}}}}, "time of batch 1"),
        (
            {"models": {"net": {"table": {"sizes": [1, 2], "seconds": [1.0]}}}},
            r"models\.net\.table",
        ),
        ({"models": {"net": {"table": "none.json"}}}, "cannot be read"),
        ({"images": {"jpeg": {"bytes": 0, "decode_ms": 1}}}, r"images\.jpeg\.bytes"),
        ({"assumed": None}, "either `measured`"),
        ({"measured": {"on": "2026-11-21", "machine": "m", "command": "c"}}, "either `measured`"),
        ({"price": {"core_hour": -1, "currency": "EUR"}}, r"price\.core_hour"),
        ({"name": ""}, "name: "),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(HardwareError, match=told):
        read_hardware(written(tmp_path, described(**changes)))


def test_a_file_that_is_not_there_or_no_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match=r"name a file, or one of .*cpu-2-cores"):
        read_hardware("nowhere.yaml")
    (tmp_path / "broken.yaml").write_text("name: [")
    with pytest.raises(HardwareError, match="is no YAML"):
        read_hardware(str(tmp_path / "broken.yaml"))
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(HardwareError, match="describes no hardware"):
        read_hardware(str(tmp_path / "list.yaml"))


def test_names_that_are_not_there_are_listed(tmp_path: Path) -> None:
    found = read_hardware(written(tmp_path, described()))
    with pytest.raises(HardwareError, match="no model resnet: it has net"):
        found.hardware("resnet", "jpeg")
    with pytest.raises(HardwareError, match="no image png: it has jpeg"):
        found.hardware("net", "png")


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: str(file.stem))
def test_what_is_shipped_says_where_it_is_from(file: Path) -> None:
    found = read_hardware(file.stem)
    assert found == read_hardware(str(file))
    if found.replica.gpus:
        assert "never measured by us" in found.origin
    else:
        assert found.measured is not None
    for model in found.models:
        for image in found.images:
            assert found.hardware(model, image).rate() > 1
