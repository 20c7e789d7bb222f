"""Do the alerts of a service that is overloaded fire, and end, on a real Prometheus?

    CXRSERVE_PROCESSORS=1 CXRSERVE_GATE=off CXRSERVE_DEFAULT_DEADLINE_MS=5000 cxrserve serve
    python -m load_tests.alerts --address 127.0.0.1:3000

For its rules a minute is a second (`load_tests.peers.prometheus.faster`). It prints when each alert
began to be pending, fired and ended, and which share of requests failed. It asks loopback only.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from load_tests.peers.prometheus import Prometheus, running_prometheus

TIMES = 60
"""How much faster than in a cluster time goes for the rules: a minute is a second."""

HEAVY = "nih14-densenet121"
"""The network that an overload asks for: the slowest."""

_PAUSE_S = 0.02
_LOOK_EVERY_S = 0.5
_TIMEOUT_S = 30.0


def film(seed: int, side: int = 256) -> bytes:
    """A JPEG that declares nothing and shows nobody; each seed gives another."""
    waves = np.random.default_rng(seed).normal(size=(8, 8))
    grey = (np.clip(waves * 40 + 128, 0, 255)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(grey).resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


class Callers:
    """Threads that ask one service; each has films of its own.

    Attributes:
        statuses: answers by HTTP status.
    """

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}"
        self.statuses: Counter[int] = Counter()

    @contextmanager
    def steady(self, each_s: float) -> Iterator[None]:
        """One that asks for little, each so many seconds."""
        with self._asking(1, pause_s=each_s, query={"model": "triage"}):
            yield

    @contextmanager
    def too_many(self, count: int = 24) -> Iterator[None]:
        """More than the service can answer: none waits to be told when to come back.

        Their deadline leaves time for eight runs of the network, so that `count` of them can never
        all be in time, however fast the machine is.
        """
        latency = httpx.get(f"{self._url}/v1/models/{HEAVY}").json()["latency"]
        deadline_ms = f"{8000 * latency['seconds'][0]:.1f}"
        query = {"model": HEAVY, "deadline_ms": deadline_ms}
        with self._asking(count, pause_s=_PAUSE_S, query=query):
            yield

    @contextmanager
    def _asking(self, count: int, *, pause_s: float, query: dict[str, str]) -> Iterator[None]:
        stopped = threading.Event()
        threads = [
            threading.Thread(target=self._ask, args=(seed, pause_s, query, stopped))
            for seed in range(count)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopped.set()
            for thread in threads:
                thread.join()

    def _ask(
        self, seed: int, pause_s: float, query: dict[str, str], stopped: threading.Event
    ) -> None:
        body = film(seed)
        with httpx.Client(base_url=self._url, timeout=_TIMEOUT_S) as client:
            while not stopped.is_set():
                status = client.post("/v1/predict", params=query, content=body).status_code
                self.statuses[status] += 1
                stopped.wait(pause_s)


class Timeline:
    """What changed of the alerts, and when."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._began = time.monotonic()
        self._states: dict[tuple[str, str], str] = {}

    def watch(self, seconds: float, doing: str) -> None:
        """Print each change for so long, and at the end how things are."""
        self._say(f"-- {doing}")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            now = {
                (one["labels"]["alertname"], one["labels"].get("long", "")): one["state"]
                for one in self._prometheus.alerts()
            }
            for name in sorted(now.keys() | self._states.keys()):
                if now.get(name) != self._states.get(name):
                    self._say(f"   {' '.join(name).strip()}: {now.get(name, 'ended')}")
            self._states = now
            time.sleep(_LOOK_EVERY_S)
        for window in ("5m", "1h", "6h"):
            record = f"namespace:cxrserve_requests_at_fault:ratio_rate{window}"
            for found in self._prometheus.query(record):
                self._say(f"   at fault, {window}: {float(found['value'][1]):.1%}")

    def _say(self, words: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s {words}", flush=True)


def main() -> None:
    """Quiet, an overload, quiet again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="host:port of a service on loopback")
    parser.add_argument("--quiet", type=float, default=60.0, help="seconds before the overload")
    parser.add_argument("--overload", type=float, default=60.0, help="seconds of it")
    parser.add_argument("--rest", type=float, default=600.0, help="seconds after it")
    asked = parser.parse_args()
    callers = Callers(asked.address)
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_prometheus(Path(scratch), {"cxrserve-0": asked.address}, times=TIMES) as prometheus,
        callers.steady(0.1),
    ):
        timeline = Timeline(prometheus)
        timeline.watch(asked.quiet, "quiet")
        with callers.too_many():
            timeline.watch(asked.overload, "overload")
        timeline.watch(asked.rest, "quiet again")
    print(f"answers by status: {dict(sorted(callers.statuses.items()))}")


if __name__ == "__main__":
    main()
