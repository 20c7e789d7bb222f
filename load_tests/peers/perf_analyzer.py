"""NVIDIA's own load tool, from the wheel `tritonclient==2.50.0`.

Two libraries that it wants lie in the wheel of Triton, under names of that wheel's own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

_ENVIRONMENTS = Path(__file__).parent / ".envs"
_PROGRAM = _ENVIRONMENTS / "perf_analyzer" / "bin" / "perf_analyzer"
_WANTED = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}


def missing() -> str:
    """What is not installed; empty if it can run."""
    if not _PROGRAM.is_file():
        return "load_tests/peers/environments perf_analyzer"
    return "" if all(_found().values()) else "load_tests/peers/environments triton"


def run(arguments: Sequence[str], *, scratch: Path, timeout_s: float) -> str:
    """Run it; what it printed, on both of its outputs.

    Args:
        arguments: its own.
        scratch: an empty folder.
        timeout_s: then it is ended.

    Raises:
        subprocess.SubprocessError: it failed, or took too long.
    """
    for name, library in _found().items():
        assert library is not None
        (scratch / name).symlink_to(library)
    done = subprocess.run(  # noqa: S603 - our own tool
        [str(_PROGRAM), *arguments],
        env={**os.environ, "LD_LIBRARY_PATH": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        check=False,
        text=True,
    )
    if done.returncode:
        raise subprocess.SubprocessError(
            f"perf_analyzer ended with {done.returncode}:\n{done.stdout}"
        )
    return done.stdout


def _found() -> dict[str, Path | None]:
    libraries = _ENVIRONMENTS / "triton" / "lib" / "python3.11" / "site-packages"
    folder = libraries / "nvidia_pytriton.libs"
    return {name: next(iter(sorted(folder.glob(p))), None) for name, p in _WANTED.items()}
