"""What this machine is, as far as the speed of a network depends on it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import onnxruntime as ort

_CPU_FACTS = Path("/proc/cpuinfo")


def cores() -> int:
    """Cores that this process may run on, which in a container are fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fingerprint() -> str:
    """Processor, allowed cores and ONNX Runtime version; nothing that names the host."""
    return f"{_cpu_model()}; {cores()} cores; onnxruntime {ort.__version__}"


def _cpu_model() -> str:
    if _CPU_FACTS.is_file():
        for line in _CPU_FACTS.read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return " ".join(value.split())
    return platform.machine() or "unknown processor"
