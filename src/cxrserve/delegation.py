"""Which models run on Tritons, and how these are reached: by the settings."""

# ruff: noqa: PLC0415 - gRPC clients are slow to import, and most services need none

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cxrserve.engines.engine import Engine
from cxrserve.errors import BrokenPackage
from cxrserve.models.package import ModelPackage
from cxrserve.settings import Settings

if TYPE_CHECKING:
    from cxrserve.triton.cluster import Cluster

_ALL = "*"


async def connect(settings: Settings) -> Cluster:
    """The Tritons of the settings, probed once, and watched from now on."""
    from cxrserve.triton.cluster import Cluster

    cluster = Cluster(
        settings.triton_endpoints,
        ca=settings.triton_ca,
        same_node=settings.triton_same_node == "on",
        clock=time.monotonic,
    )
    await cluster.start()
    return cluster


def runs_on_triton(package: ModelPackage, settings: Settings) -> bool:
    """Whether the settings let Tritons run a package, where there are any."""
    return _ALL in settings.triton_models or package.manifest.name in settings.triton_models


def delegated(package: ModelPackage, local: Engine, cluster: Cluster, settings: Settings) -> Engine:
    """A package as Tritons run it; `local` stands in for them if the settings say so.

    Not to be called on the event loop.

    Raises:
        BrokenPackage: no Triton runs it, and nothing may stand in.
    """
    from cxrserve.triton.engine import TritonEngine

    engine = TritonEngine(cluster, package, local, stands_in=settings.triton_fallback == "on")
    if engine.stand_in is None and not engine.is_available:
        why = "; ".join(cluster.reasons(package.manifest.name))
        engine.close()
        raise BrokenPackage(
            f"no Triton runs {package.manifest.name}: {why}",
            advice="see docs/triton.md, or set CXRSERVE_TRITON_FALLBACK=on",
        )
    return engine
