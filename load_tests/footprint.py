"""Print the table of docs/footprint.md: `make footprint`.

Starts the service from the environment it runs in, measures, and stops it. Images are phantoms.
"""

from __future__ import annotations

import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from cxrserve.radiograph.phantom import write_phantom

_ROOT = Path(__file__).resolve().parents[1]
_REQUESTS, _WARM_UP = 300, 20


def main() -> None:
    """Measure and print."""
    size_mib, models_mib = _size_mib(Path(sys.prefix)), _size_mib(_ROOT / "models")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    service = subprocess.Popen(
        [sys.executable, "-m", "cxrserve.cli", "serve"],
        cwd=_ROOT,
        env={**os.environ, "CXRSERVE_HTTP_PORT": str(port), "CXRSERVE_HOST": "127.0.0.1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_ready(url)
        start_s = time.perf_counter() - started
        idle_mib = _resident_mib(service.pid)
        rows = _latencies(url)
        print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
        print("| what | measured |\n|---|---:|")
        for what, value in (
            ("start to ready", f"{start_s:.1f} s"),
            ("resident memory, idle, all processes", f"{idle_mib:.0f} MiB"),
            ("resident memory, after the requests below", f"{_resident_mib(service.pid):.0f} MiB"),
            ("install size of the environment", f"{size_mib:.0f} MiB"),
            ("size of `models/`", f"{models_mib:.1f} MiB"),
            *rows,
        ):
            print(f"| {what} | {value} |")
    finally:
        service.terminate()
        service.wait(60)


def _size_mib(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20


def _wait_until_ready(url: str) -> None:
    give_up_at = time.monotonic() + 90
    while time.monotonic() < give_up_at:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise SystemExit("the service did not become ready")


def _resident_mib(pid: int) -> float:
    parent = psutil.Process(pid)
    return sum(one.memory_info().rss for one in (parent, *parent.children(recursive=True))) / 2**20


def _latencies(url: str) -> list[tuple[str, str]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix, name in (
            (".jpg", "JPEG 1024²"),
            (".png", "PNG 1024²"),
            (".dcm", "DICOM 1024²"),
        ):
            path = Path(folder) / f"phantom{suffix}"
            write_phantom(path, side=1024)
            times_ms = _times_ms(f"{url}/v1/predict", path.read_bytes())
            p50, p99 = statistics.median(times_ms), statistics.quantiles(times_ms, n=100)[98]
            rows.append((f"one client, {name}, p50 / p99", f"{p50:.1f} / {p99:.1f} ms"))
    return rows


def _times_ms(url: str, image: bytes) -> list[float]:
    times = []
    for number in range(_WARM_UP + _REQUESTS):
        started = time.perf_counter()
        request = urllib.request.Request(url, image, method="POST")  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
            answer.read()
        if number >= _WARM_UP:
            times.append((time.perf_counter() - started) * 1e3)
    return times


if __name__ == "__main__":
    main()
