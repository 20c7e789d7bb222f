"""A table is measured within its time, and kept for the next start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.engines.engine import Masks
from cxrserve.engines.hardware import fingerprint
from cxrserve.engines.latency import SIZES, LatencyTable
from cxrserve.engines.warm_up import TableStore, measured, table_of

SIDE = 32


class _TimedEngine:
    """Takes the time it is told to, on a clock of its own."""

    name = "timed-cpu-fp32"
    precision = "fp32"
    slots = 1
    independent_slots = True
    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}

    def __init__(self, *, start_s: float = 0.001, each_s: float = 0.01) -> None:
        self.now = 0.0
        self.runs: list[int] = []
        self.late: dict[int, float] = {}
        self._start_s, self._each_s = start_s, each_s

    def run(self, pixels: NDArray[np.uint8]) -> Masks:
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == (1, SIDE, SIDE)
        first = len(pixels) not in self.runs
        self.runs.append(len(pixels))
        self.now += self._start_s + self._each_s * len(pixels)
        self.now += 0.05 * first + self.late.get(len(self.runs), 0.0)
        return Masks(np.zeros((len(pixels), 1, 1, 1), np.float32))

    def close(self) -> None:
        """Nothing is held."""

    def clock(self) -> float:
        return self.now


def test_the_table_is_what_batches_take_without_their_first_run() -> None:
    engine = _TimedEngine()
    table = measured(engine, SIDE, clock=engine.clock, budget_s=60)
    assert table.sizes == SIZES
    for size in SIZES:
        assert table.seconds(size) == pytest.approx(0.001 + 0.01 * size)


def test_interruptions_while_measuring_are_not_believed() -> None:
    engine = _TimedEngine()
    engine.late = dict.fromkeys(range(4, 100, 7), 1.0)
    table = measured(engine, SIDE, clock=engine.clock, budget_s=60)
    for size in SIZES:
        assert table.seconds(size) == pytest.approx(0.001 + 0.01 * size)


@pytest.mark.parametrize("budget_s", [0.0, 0.2, 0.5, 1.0, 3.0])
def test_measuring_ends_within_its_time_with_the_sizes_that_fit(budget_s: float) -> None:
    engine = _TimedEngine()
    table = measured(engine, SIDE, clock=engine.clock, budget_s=budget_s)
    assert engine.now <= max(budget_s, 0.1) + 0.05  # a first run may be late by what it allocates
    assert table.sizes == SIZES[: len(table.sizes)]
    for size in table.sizes:
        assert table.seconds(size) == pytest.approx(0.001 + 0.01 * size)


def test_a_clock_too_coarse_to_see_a_batch_still_gives_a_table() -> None:
    engine = _TimedEngine()
    assert measured(engine, SIDE, clock=lambda: 0.0, budget_s=1).seconds(16) > 0


def test_the_next_start_reads_what_this_one_measured(tmp_path: Path) -> None:
    engine = _TimedEngine()

    def start() -> LatencyTable:
        return table_of(
            engine,
            digest="sha256:a",
            side=SIDE,
            store=TableStore(tmp_path),
            clock=engine.clock,
            budget_s=60,
        )

    first = start()
    runs = len(engine.runs)
    second = start()
    assert len(engine.runs) == runs
    assert second.as_dict()["seconds"] == pytest.approx(first.as_dict()["seconds"])
    assert not list(tmp_path.rglob("*.part"))


def test_a_table_holds_for_its_graph_engine_and_hardware_only(tmp_path: Path) -> None:
    TableStore(tmp_path, hardware="here").write("sha256:a", "engine", LatencyTable.flat(0.1))
    assert TableStore(tmp_path, hardware="here").read("sha256:a", "engine") is not None
    assert TableStore(tmp_path, hardware="here").read("sha256:b", "engine") is None
    assert TableStore(tmp_path, hardware="here").read("sha256:a", "other") is None
    assert TableStore(tmp_path, hardware="there").read("sha256:a", "engine") is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"of": {}, "table": {}}',
        b'{"of": null, "table": {"sizes": [1], "seconds": [1]}}',
    ],
)
def test_a_damaged_file_means_measuring_again(
    tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = TableStore(tmp_path)
    store.write("sha256:a", "engine", LatencyTable.flat(0.1))
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(text)
    assert store.read("sha256:a", "engine") is None
    assert "measuring again" in caplog.text
    store.write("sha256:a", "engine", LatencyTable.flat(0.2))
    table = store.read("sha256:a", "engine")
    assert table is not None
    assert table.seconds(1) == pytest.approx(0.2)


def test_a_table_of_negative_times_is_not_believed(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    store.write("sha256:a", "engine", LatencyTable.flat(0.1))
    (path,) = tmp_path.rglob("*.json")
    held = json.loads(path.read_text())
    held["table"]["seconds"] = [-1.0] * len(held["table"]["sizes"])
    path.write_text(json.dumps(held))
    assert store.read("sha256:a", "engine") is None


def test_a_folder_that_cannot_be_written_does_not_stop_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    TableStore(tmp_path / "file").write("sha256:a", "engine", LatencyTable.flat(0.1))
    assert "cannot be kept" in caplog.text


def test_without_a_folder_nothing_is_kept() -> None:
    store = TableStore(None)
    store.write("sha256:a", "engine", LatencyTable.flat(0.1))
    assert store.read("sha256:a", "engine") is None


def test_the_fingerprint_names_no_host() -> None:
    import socket

    assert "cores" in fingerprint()
    assert socket.gethostname() not in fingerprint()
