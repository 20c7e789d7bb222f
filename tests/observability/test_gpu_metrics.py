"""What is told of GPUs, by a stand-in for NVIDIA's library: there is no GPU where tests run."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cxrserve.observability.gpu_metrics import gpu_families, nvml

_GIB = 2**30


class Library(ModuleType):
    """Two GPUs, of which the second is a slice that tells of no use."""

    class NVMLError(Exception):
        """As the library's own."""

    def __init__(self, *, works: bool = True) -> None:
        super().__init__("pynvml")
        self.works = works

    def nvmlInit(self) -> None:
        if not self.works:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:
        return SimpleNamespace(used=(device + 1) * _GIB, total=80 * _GIB)

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:
        if device == 1:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=35)


def told(library: Any | None) -> dict[str, dict[str, float]]:
    return {
        family.name: {sample.labels["gpu"]: sample.value for sample in family.samples}
        for family in gpu_families(library)
    }


def test_each_gpu_is_told_of_as_far_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Library())
    assert told(nvml()) == {
        "cxrserve_gpu_utilisation": {"0": 0.35},
        "cxrserve_gpu_memory_used_bytes": {"0": _GIB, "1": 2 * _GIB},
        "cxrserve_gpu_memory_bytes": {"0": 80 * _GIB, "1": 80 * _GIB},
    }


@pytest.mark.parametrize("library", [None, Library(works=False)])
def test_without_a_gpu_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, library: ModuleType | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert nvml() is None
    assert told(nvml()) == {}
