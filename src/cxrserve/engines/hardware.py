"""What this machine is, as far as the speed of a network depends on it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CPU_FACTS = Path("/proc/cpuinfo")
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "openvino", "torch")


def cores() -> int:
    """Cores that this process may run on, which in a container are fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fingerprint() -> str:
    """Processor, allowed cores and versions of the runtimes; nothing that names the host."""
    return "; ".join((_cpu_model(), f"{cores()} cores", *_runtimes()))


def _runtimes() -> list[str]:
    found = []
    for name in _RUNTIMES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    if _CPU_FACTS.is_file():
        for line in _CPU_FACTS.read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return " ".join(value.split())
    return platform.machine() or "unknown processor"
