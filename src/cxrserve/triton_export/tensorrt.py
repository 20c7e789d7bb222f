"""TensorRT: as an accelerator inside ONNX Runtime, and as a plan that a GPU node builds."""

from __future__ import annotations

from cxrserve.models.manifest import Graph
from cxrserve.triton_export.errors import NotExportable
from cxrserve.triton_export.schedule import Schedule
from cxrserve.triton_export.wanted import Wanted

_MIB = 1 << 20


def takes(graph: Graph) -> bool:
    """Whether TensorRT can read a graph: it quantises around zero, our int8 graphs do not."""
    return graph.precision != "int8"


def accelerator(
    wanted: Wanted, schedule: Schedule, *, name: str, side: int, graph: Graph
) -> dict[str, str]:
    """Parameters of `execution_accelerators` for ONNX Runtime's TensorRT provider.

    The provider names a cached engine after the graph's structure, not its weights: a folder for
    each graph keeps a new version from being answered by the engine of the old one.
    """
    cache = f"{wanted.engine_cache.rstrip('/')}/{name}-{graph.sha256[:12]}"
    least, best, most = _shapes(schedule, side)
    return {
        "precision_mode": "FP16" if wanted.fp16 else "FP32",
        "max_workspace_size_bytes": str(wanted.workspace_mib * _MIB),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
        # Without a range every new batch size would build the engine anew, for minutes.
        "trt_profile_min_shapes": least,
        "trt_profile_opt_shapes": best,
        "trt_profile_max_shapes": most,
    }


def build_script(wanted: Wanted, schedule: Schedule, *, version: str, side: int) -> str:
    """A shell script that builds `VERSION/model.plan` from `model.onnx` beside it, on the GPU node.

    A plan holds for one kind of GPU and one version of TensorRT, so it cannot be built here.
    """
    least, best, most = _shapes(schedule, side)
    options = [
        "--onnx=model.onnx",
        f"--saveEngine={version}/model.plan.part",
        f"--minShapes={least}",
        f"--optShapes={best}",
        f"--maxShapes={most}",
        f"--memPoolSize=workspace:{wanted.workspace_mib}",
        *(["--fp16"] if wanted.fp16 else []),
        "--skipInference",
    ]
    command = " \\\n  ".join(['"$trtexec"', *options])
    return f"""#!/bin/sh
# Builds {version}/model.plan. Run it on the node whose GPU will serve, in a container that has the
# TensorRT of its Triton: a plan holds for one kind of GPU and one version of TensorRT.
set -eu
cd "$(dirname "$0")"
mkdir -p {version}
trtexec=$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)
{command}
mv {version}/model.plan.part {version}/model.plan
"""


def refuse_int8(graph: Graph, name: str) -> None:
    """Raises:
    NotExportable: the graph is quantised.
    """
    if not takes(graph):
        raise NotExportable(
            f"{name}: TensorRT reads int8 graphs that are quantised around zero, "
            f"{graph.file} is not",
            advice="export an fp32 graph (`cxrserve export --precision fp32`), "
            "or use --backend onnxruntime",
        )


def _shapes(schedule: Schedule, side: int) -> tuple[str, str, str]:
    """The least, the best and the largest input, as TensorRT's tools spell shapes."""
    best = schedule.preferred[-1] if schedule.preferred else schedule.largest
    least, optimum, most = (
        f"pixels:{images}x1x{side}x{side}" for images in (1, best, schedule.largest)
    )
    return least, optimum, most
