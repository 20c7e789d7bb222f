"""Measures how long batches take on this machine, and remembers it for the next start."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from statistics import median

from cxrserve.engines.engine import Engine
from cxrserve.engines.films import films
from cxrserve.engines.hardware import fingerprint
from cxrserve.engines.latency import SIZES, LatencyTable

_log = logging.getLogger(__name__)

Clock = Callable[[], float]

# Enough for a median that one interruption does not move; more would only take longer.
_ROUNDS = 15


def measured(
    engine: Engine,
    side: int,
    *,
    sizes: Sequence[int] = SIZES,
    clock: Clock,
    budget_s: float,
) -> LatencyTable:
    """The median time of each size, from rounds over all of them, up and down in turn.

    Args:
        engine: what is measured; the first run of a size, which allocates, does not count.
        side: input side in pixels.
        sizes: sizes to measure, with 1 among them.
        clock: seconds, monotonic.
        budget_s: no run begins that would end after this. Size 1 is measured whatever it takes;
            larger sizes that do not fit are left out, and the table ends before them.
    """
    pixels = films(max(sizes), side)
    end = clock() + budget_s
    times: dict[int, list[float]] = {}

    def run(size: int) -> float:
        started = clock()
        engine.run(pixels[:size])
        return clock() - started

    run(1)
    times[1] = [cost := run(1)]
    for size in sorted(set(sizes) - {1}):
        # The first run and one that counts; a batch takes no longer than its images one by one.
        if clock() + 2 * cost * size > end:
            break
        run(size)
        times[size] = [run(size)]
        cost = min(cost, times[size][0] / size)
    upwards = sorted(times)
    orders = cycle((upwards[::-1], upwards))
    for size in (
        size for _, order in zip(range(_ROUNDS - 1), orders, strict=False) for size in order
    ):
        if clock() + median(times[size]) > end:
            break
        times[size].append(run(size))
    return LatencyTable({size: median(seen) for size, seen in times.items()})


class TableStore:
    """Latency tables of earlier starts, one file each, by graph, engine and hardware.

    Args:
        folder: where they lie; None: nothing is read or written.
        hardware: what the tables hold for; by default this machine.
    """

    def __init__(self, folder: Path | None, *, hardware: str | None = None) -> None:
        self._folder = folder and folder / "tables"
        self._hardware = hardware or fingerprint()

    def read(self, digest: str, engine: str) -> LatencyTable | None:
        """The table of a graph (or package) digest in an engine (`Engine.name`), if there is one.

        A file that cannot be read, or holds something else, counts as none: measure again.
        """
        path = self._path(digest, engine)
        if path is None or not path.is_file():
            return None
        try:
            held = json.loads(path.read_text("utf-8"))
            if held["of"] != self._key(digest, engine):
                raise ValueError("it is the table of something else")
            return LatencyTable.from_dict(held["table"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("latency table %s cannot be used, measuring again: %s", path.name, error)
            return None

    def write(self, digest: str, engine: str, table: LatencyTable) -> None:
        """Keep a table. A folder that cannot be written costs the next start time, no more."""
        path = self._path(digest, engine)
        if path is None:
            return
        held = {"of": self._key(digest, engine), "table": table.as_dict()}
        try:
            write_json(path, held)
        except OSError as error:
            _log.warning("latency table %s cannot be kept: %s", path.name, error.strerror)

    def _key(self, digest: str, engine: str) -> dict[str, str]:
        return {"digest": digest, "engine": engine, "hardware": self._hardware}

    def _path(self, digest: str, engine: str) -> Path | None:
        if self._folder is None:
            return None
        key = json.dumps(self._key(digest, engine), sort_keys=True)
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def table_of(
    engine: Engine,
    *,
    digest: str,
    side: int,
    store: TableStore,
    sizes: Sequence[int] = SIZES,
    clock: Clock,
    budget_s: float,
) -> LatencyTable:
    """The table kept from an earlier start, else one measured now and kept."""
    table = store.read(digest, engine.name)
    if table is None:
        table = measured(engine, side, sizes=sizes, clock=clock, budget_s=budget_s)
        store.write(digest, engine.name, table)
    return table


def write_json(path: Path, data: object) -> None:
    """Write a JSON file so that a reader sees all of it or none.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=2)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
