"""Exported repositories, and a real Triton that serves one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from load_tests.peers.triton_server import NOT_INSTALLED, Triton, is_installed, running_triton
from tritonclient import grpc as tritongrpc
from typer.testing import CliRunner

from cxrserve.cli import app
from cxrserve.engines.latency import LatencyTable
from cxrserve.models.package import ModelPackage, read_package
from tests.tiny_package import write_tiny_package
from tests.triton.poisonous import poisonous_graph

MODELS_DIR = Path(__file__).resolve().parents[2] / "models"
SERVED = ("nih14-densenet121", "triage", "lungs-unet")
LARGEST = 8
"""Of the batches that the real server forms."""

Export = Callable[..., Path]


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A latency table where batching pays, so that nothing has to be measured."""
    file = tmp_path_factory.mktemp("table") / "table.json"
    table = LatencyTable.linear(0.004, 0.0005, (1, 2, 4, LARGEST))
    file.write_text(json.dumps(table.as_dict()))
    return file


@pytest.fixture(scope="session")
def export(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Runs `cxrserve export triton`, which must succeed; gives the repository."""

    def run(
        *models: str, backend: str, options: tuple[str, ...] = (), models_dir: Path = MODELS_DIR
    ) -> Path:
        folder = tmp_path_factory.mktemp("repository")
        arguments = ["export", "triton", str(folder), "--backend", backend, *options]
        for model in models:
            arguments += ["--model", model, "--table", f"{model}={table}"]
        ended = CliRunner().invoke(app, arguments, env={"CXRSERVE_MODELS_DIR": str(models_dir)})
        assert ended.exit_code == 0, ended.output
        return folder

    return run


@pytest.fixture(scope="session")
def poisonous_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a network that some images break."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_package(folder / "poisonous", name="poisonous", graph=poisonous_graph())
    return folder


@pytest.fixture(scope="session")
def repository(export: Export, poisonous_models: Path) -> Path:
    """`SERVED` and the poisonous network for Triton's Python backend, one instance each."""
    if not is_installed():
        pytest.skip(NOT_INSTALLED)
    one = ("--instances", "1")
    folder = export(*SERVED, backend="python", options=one)
    extra = export("poisonous", backend="python", options=one, models_dir=poisonous_models)
    (extra / "poisonous").rename(folder / "poisonous")
    return folder


@pytest.fixture(scope="session")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A real Triton that serves `repository`."""
    with running_triton(repository, tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.fixture
def client(triton: Triton) -> Iterator[tritongrpc.InferenceServerClient]:
    """Triton's own client, connected."""
    client = tritongrpc.InferenceServerClient(triton.grpc)
    yield client
    client.close()


def package_of(name: str) -> ModelPackage:
    """A package of this repository."""
    return read_package(MODELS_DIR / name)
