"""What backends are given to run does what it should, as far as this is seen without a GPU."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cxrserve.engines.engine import Outputs
from cxrserve.engines.films import films
from cxrserve.engines.load import load_engine
from cxrserve.models.package import read_package
from tests.triton.conftest import Export, package_of

_BOUND = 1e-4


@pytest.mark.parametrize("name", ["triage", "lungs-unet"])
def test_torchscript_gives_what_the_local_engine_gives_in_any_batch(
    export: Export, name: str
) -> None:
    torch = pytest.importorskip("torch")
    package = package_of(name)
    folder = export(name, backend="pytorch")
    module = torch.jit.load(io.BytesIO((folder / name / "1" / "model.pt").read_bytes()))
    engine = load_engine(package)
    for images in (1, 2, 5):
        pixels = films(images, package.manifest.input.side)
        expected = engine.run(pixels)
        with torch.inference_mode():
            given = module(torch.from_numpy(pixels))
        if isinstance(expected, Outputs):
            logits, cam = given
            np.testing.assert_allclose(logits.numpy(), expected.logits, rtol=0, atol=_BOUND)
            np.testing.assert_allclose(cam.numpy(), expected.cam, rtol=0, atol=1e-3)
        else:
            np.testing.assert_allclose(given.numpy(), expected.mask, rtol=0, atol=_BOUND)


@pytest.fixture
def trtexec(tmp_path: Path) -> Path:
    """Stands in for TensorRT's tool: writes down its options and makes the plan, or fails."""
    tool = tmp_path / "bin" / "trtexec"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/sh\n"
        'for one in "$@"; do echo "$one" >> options; '
        'case "$one" in --saveEngine=*) echo plan > "${one#--saveEngine=}";; esac; done\n'
        "exit ${TRTEXEC_FAILS:-0}\n"
    )
    tool.chmod(0o755)
    return tool


def _build(folder: Path, trtexec: Path, fails: int = 0) -> int:
    path = os.pathsep.join([str(trtexec.parent), os.environ["PATH"]])
    variables = {**os.environ, "PATH": path, "TRTEXEC_FAILS": str(fails)}
    # From elsewhere: it must find its model by itself.
    return subprocess.run([folder / "build.sh"], env=variables, cwd="/", check=False).returncode


def test_a_plan_is_built_on_the_gpu_node_by_the_script_beside_the_graph(
    export: Export, trtexec: Path
) -> None:
    folder = export("triage", backend="tensorrt", options=("--fp16",)) / "triage"
    assert not list((folder / "1").iterdir())
    assert (folder / "build.sh").stat().st_mode & stat.S_IXUSR
    package = read_package(package_of("triage").folder)
    assert (folder / "model.onnx").read_bytes() == package.graph_bytes(package.graph("fp32"))
    assert _build(folder, trtexec) == 0
    assert [one.name for one in (folder / "1").iterdir()] == ["model.plan"]
    options = (folder / "options").read_text().split()
    assert "--onnx=model.onnx" in options
    assert "--fp16" in options
    assert [one for one in options if "Shapes" in one] == [
        "--minShapes=pixels:1x1x128x128",
        "--optShapes=pixels:8x1x128x128",
        "--maxShapes=pixels:8x1x128x128",
    ]


def test_a_build_that_fails_leaves_no_plan_to_be_served(export: Export, trtexec: Path) -> None:
    folder = export("triage", backend="tensorrt") / "triage"
    assert _build(folder, trtexec, fails=1) != 0
    assert not (folder / "1" / "model.plan").exists()
