"""A model's `config.pbtxt`: Triton's own message, written as protobuf's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton

from cxrserve import __version__
from cxrserve.batching.line import Priority
from cxrserve.models.manifest import Graph
from cxrserve.models.package import ModelPackage
from cxrserve.oip.interface import LOGITS, PIXELS, wire_version
from cxrserve.triton_export import tensorrt
from cxrserve.triton_export.schedule import Schedule
from cxrserve.triton_export.wanted import Backend, Wanted

CONFIG, LABELS, WARM_UP = "config.pbtxt", "labels.txt", "pixels"
_HEAD = "# Written by `cxrserve export triton`: export again rather than edit.\n"
_FILES = {
    Backend.PYTHON: "model.py",
    Backend.ONNXRUNTIME: "model.onnx",
    Backend.TENSORRT: "model.plan",
    Backend.PYTORCH: "model.pt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A package as Triton will serve it.

    Attributes:
        package: the package.
        graph: the one of its graphs that is run.
        shapes: of each output of one image, without the batch, in the graph's order.
        schedule: what the dynamic batcher is set to.
    """

    package: ModelPackage
    graph: Graph
    shapes: Mapping[str, tuple[int, ...]]
    schedule: Schedule

    @property
    def name(self) -> str:
        """The model's, in Triton as in the service."""
        return self.package.manifest.name

    @property
    def version(self) -> str:
        """The package's version as a whole number: the name of Triton's folder for it."""
        return wire_version(self.package.manifest.version)

    @property
    def side(self) -> int:
        """Of the input, in pixels."""
        return self.package.manifest.input.side


def config_of(served: Served, wanted: Wanted) -> triton.ModelConfig:
    """Triton's configuration of a model; docs/triton.md gives the reason of each choice."""
    policy = triton.ModelVersionPolicy()
    policy.specific.versions.append(int(served.version))
    return triton.ModelConfig(
        name=served.name,
        backend=wanted.backend.value,
        default_model_filename=_FILES[wanted.backend],
        version_policy=policy,
        max_batch_size=served.schedule.largest,
        input=[_input(served.side)],
        output=[_output(name, dims) for name, dims in served.shapes.items()],
        dynamic_batching=_batching(served.schedule, wanted.slo_ms),
        instance_group=[_instances(wanted)],
        optimization=_optimization(served, wanted),
        model_warmup=[_warm_up(images, served.side) for images in served.schedule.warmed],
        response_cache=triton.ModelResponseCache(enable=False),
        parameters={
            key: triton.ModelParameter(string_value=value)
            for key, value in _parameters(served, wanted).items()
        },
    )


def written(config: triton.ModelConfig) -> str:
    """The text of `config.pbtxt`."""
    return _HEAD + str(text_format.MessageToString(config))


def parsed(text: str) -> triton.ModelConfig:
    """The configuration that a `config.pbtxt` holds.

    Raises:
        ValueError: it is none (`google.protobuf.text_format.ParseError`).
    """
    config: triton.ModelConfig = text_format.Parse(text, triton.ModelConfig())
    return config


def _input(side: int) -> triton.ModelInput:
    return triton.ModelInput(name=PIXELS, data_type=triton.TYPE_UINT8, dims=[1, side, side])


def _output(name: str, dims: Sequence[int]) -> triton.ModelOutput:
    # Triton's classification extension reads labels of what has one element a label.
    return triton.ModelOutput(
        name=name,
        data_type=triton.TYPE_FP32,
        dims=dims,
        label_filename=LABELS if name == LOGITS else "",
    )


def _batching(schedule: Schedule, slo_ms: Mapping[Priority, float]) -> triton.ModelDynamicBatching:
    policies = {level: _policy(slo_ms[level], schedule.queue[level]) for level in Priority}
    return triton.ModelDynamicBatching(
        preferred_batch_size=schedule.preferred,
        max_queue_delay_microseconds=schedule.delay_us,
        priority_levels=len(Priority),
        default_priority_level=triton_level(Priority.ROUTINE),
        default_queue_policy=policies[Priority.ROUTINE],
        priority_queue_policy={triton_level(level): one for level, one in policies.items()},
    )


def triton_level(priority: Priority) -> int:
    """Triton counts its levels from 1, the most urgent."""
    return int(priority) + 1


def _policy(slo_ms: float, queue: int) -> triton.ModelQueuePolicy:
    # A request's own timeout can only shorten the default one, and counts for nothing where that
    # is 0 (Triton, core/src/scheduler_utils.cc).
    return triton.ModelQueuePolicy(
        timeout_action=triton.ModelQueuePolicy.REJECT,
        default_timeout_microseconds=int(slo_ms * 1e3),
        allow_timeout_override=True,
        max_queue_size=queue,
    )


def _instances(wanted: Wanted) -> triton.ModelInstanceGroup:
    group = triton.ModelInstanceGroup
    kind = group.KIND_GPU if wanted.backend.on_gpu else group.KIND_CPU
    return group(count=wanted.instances, kind=kind)


def _optimization(served: Served, wanted: Wanted) -> triton.ModelOptimizationPolicy | None:
    if wanted.backend is not Backend.ONNXRUNTIME or not tensorrt.takes(served.graph):
        return None
    policy = triton.ModelOptimizationPolicy()
    policy.execution_accelerators.gpu_execution_accelerator.add(
        name="tensorrt",
        parameters=tensorrt.accelerator(
            wanted, served.schedule, name=served.name, side=served.side, graph=served.graph
        ),
    )
    return policy


def _warm_up(images: int, side: int) -> triton.ModelWarmup:
    # Triton repeats the one image to fill the batch.
    pixels = triton.ModelWarmup.Input(
        data_type=triton.TYPE_UINT8, dims=[1, side, side], input_data_file=WARM_UP
    )
    return triton.ModelWarmup(name=f"phantom-{images}", batch_size=images, inputs={PIXELS: pixels})


def _parameters(served: Served, wanted: Wanted) -> dict[str, str]:
    fp16 = wanted.fp16 and wanted.backend in (Backend.ONNXRUNTIME, Backend.TENSORRT)
    parameters = {
        "cxrserve_version": __version__,
        "version": served.package.manifest.version,
        "digest": served.package.digest,
        "graph_sha256": served.graph.sha256,
        "precision": "fp16" if fp16 and tensorrt.takes(served.graph) else served.graph.precision,
    }
    if wanted.backend is Backend.PYTHON:
        parameters["intra_op_num_threads"] = str(wanted.threads)
    return parameters
