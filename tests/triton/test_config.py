"""Every configuration of every backend is Triton's, and says what the package says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton

from cxrserve import __version__
from cxrserve.engines.films import films
from cxrserve.oip.interface import wire_version
from tests.triton.conftest import LARGEST, MODELS_DIR, Export, package_of

_FP32 = ("triage", "lungs-unet")
_ANY = ("nih14-densenet121", "chexml-resnet50", *_FP32)
_CASES = [
    *((backend, name) for backend in ("python", "onnxruntime") for name in _ANY),
    *((backend, name) for backend in ("tensorrt", "pytorch") for name in _FP32),
]
_FILES = {
    "python": "model.py",
    "onnxruntime": "model.onnx",
    "tensorrt": "model.plan",
    "pytorch": "model.pt",
}


@pytest.fixture(scope="module")
def exported(export: Export) -> dict[tuple[str, str], Path]:
    """The folder of each backend's model."""
    folders = {}
    for backend in _FILES:
        names = [name for one, name in _CASES if one == backend]
        repository = export(*names, backend=backend, options=("--slo-ms", "200,500,2000"))
        folders.update({(backend, name): repository / name for name in names})
    return folders


@pytest.fixture(params=_CASES, ids="-".join)
def case(
    request: pytest.FixtureRequest, exported: dict[tuple[str, str], Path]
) -> tuple[str, str, Path, Any]:
    backend, name = request.param
    folder = exported[backend, name]
    config = text_format.Parse((folder / "config.pbtxt").read_text("utf-8"), triton.ModelConfig())
    return backend, name, folder, config


Case = tuple[str, str, Path, Any]


def test_tensors_are_those_of_the_graph_contract(case: Case) -> None:
    _, name, _, config = case
    manifest = package_of(name).manifest
    side, labels = manifest.input.side, len(manifest.labels)
    (pixels,) = config.input
    assert (pixels.name, pixels.data_type) == ("pixels", triton.TYPE_UINT8)
    assert list(pixels.dims) == [1, side, side]
    outputs = {output.name: output for output in config.output}
    assert {one.data_type for one in outputs.values()} == {triton.TYPE_FP32}
    if manifest.task == "segmentation":
        assert list(outputs) == ["mask"]
        assert list(outputs["mask"].dims) == [labels, side, side]
    else:
        assert list(outputs) == ["logits", "cam"]
        assert list(outputs["logits"].dims) == [labels]
        assert outputs["cam"].dims[0] == labels
        assert outputs["logits"].label_filename == "labels.txt"


def test_it_names_its_package_and_the_one_version_it_speaks_for(case: Case) -> None:
    backend, name, folder, config = case
    package = package_of(name)
    said = {key: value.string_value for key, value in config.parameters.items()}
    assert said["digest"] == package.digest
    assert said["cxrserve_version"] == __version__
    (graph,) = (g for g in package.manifest.graphs if g.sha256 == said["graph_sha256"])
    assert said["precision"] == graph.precision
    assert said["version"] == package.manifest.version
    version = wire_version(package.manifest.version)
    assert list(config.version_policy.specific.versions) == [int(version)]
    folders = [one.name for one in folder.iterdir() if one.is_dir()]
    assert sorted(folders) == sorted([version, "warmup"])
    assert (config.name, config.backend) == (name, backend)
    assert config.default_model_filename == _FILES[backend]


def test_classes_wait_no_longer_than_their_time_and_may_ask_for_less(case: Case) -> None:
    *_, config = case
    batching = config.dynamic_batching
    assert config.max_batch_size == LARGEST
    assert (batching.priority_levels, batching.default_priority_level) == (3, 3)
    waits = {
        level: policy.default_timeout_microseconds
        for level, policy in batching.priority_queue_policy.items()
    }
    assert waits == {1: 200_000, 2: 500_000, 3: 2_000_000}
    for policy in (batching.default_queue_policy, *batching.priority_queue_policy.values()):
        assert policy.timeout_action == triton.ModelQueuePolicy.REJECT
        assert policy.allow_timeout_override
        assert policy.max_queue_size > 0
    assert batching.default_queue_policy == batching.priority_queue_policy[3]
    assert list(batching.preferred_batch_size) == [2, 4, 8]
    assert 3990 <= batching.max_queue_delay_microseconds <= 4000
    assert not config.response_cache.enable


def test_instances_are_where_the_backend_runs(case: Case) -> None:
    backend, *_, config = case
    (group,) = config.instance_group
    kinds = triton.ModelInstanceGroup
    assert group.kind == (kinds.KIND_CPU if backend == "python" else kinds.KIND_GPU)
    assert group.count >= 1


def test_it_is_warmed_up_with_a_phantom_in_each_size(case: Case) -> None:
    _, name, folder, config = case
    side = package_of(name).manifest.input.side
    assert [one.batch_size for one in config.model_warmup] == [1, 2, 4, 8]
    for one in config.model_warmup:
        pixels = one.inputs["pixels"]
        raw = (folder / "warmup" / pixels.input_data_file).read_bytes()
        image = np.frombuffer(raw, np.uint8).reshape(pixels.dims)
        assert (image == films(1, side)[0]).all()
        assert image.std() > 20


def test_labels_are_in_the_package_s_order(case: Case) -> None:
    _, name, folder, _ = case
    written = (folder / "labels.txt").read_text("utf-8").splitlines()
    assert written == [label.name for label in package_of(name).manifest.labels]


def test_nothing_tells_of_the_machine_that_exported(case: Case) -> None:
    *_, folder, _ = case
    for file in (file for file in folder.rglob("*") if file.is_file()):
        data = file.read_bytes()
        for place in (Path.home(), MODELS_DIR.parent, folder.parent):
            assert str(place).encode() not in data or str(place) == "/", file


def test_an_accelerated_graph_is_built_once_for_all_sizes(
    exported: dict[tuple[str, str], Path],
) -> None:
    text = (exported["onnxruntime", "triage"] / "config.pbtxt").read_text("utf-8")
    config = text_format.Parse(text, triton.ModelConfig())
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    said = dict(accelerator.parameters)
    assert said["precision_mode"] == "FP32"
    assert said["trt_profile_min_shapes"] == "pixels:1x1x128x128"
    assert said["trt_profile_max_shapes"] == f"pixels:{LARGEST}x1x128x128"
    digest = config.parameters["graph_sha256"].string_value
    assert said["trt_engine_cache_path"] == f"./triage-{digest[:12]}"


def test_tensorrt_is_not_promised_for_a_graph_that_it_cannot_read(
    exported: dict[tuple[str, str], Path],
) -> None:
    text = (exported["onnxruntime", "nih14-densenet121"] / "config.pbtxt").read_text("utf-8")
    assert not text_format.Parse(text, triton.ModelConfig()).HasField("optimization")


def test_fp16_is_said_where_it_was_asked_for(export: Export) -> None:
    options = ("--fp16", "--engine-cache", "/var/cache/triton", "--workspace-mib", "2048")
    folder = export("triage", backend="onnxruntime", options=options)
    text = (folder / "triage" / "config.pbtxt").read_text("utf-8")
    config = text_format.Parse(text, triton.ModelConfig())
    assert config.parameters["precision"].string_value == "fp16"
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.parameters["precision_mode"] == "FP16"
    assert accelerator.parameters["max_workspace_size_bytes"] == str(2 << 30)
    assert accelerator.parameters["trt_engine_cache_path"].startswith("/var/cache/triton/triage-")
