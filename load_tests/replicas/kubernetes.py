"""What Kubernetes would wait for while it replaces a pod, read from our own manifests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_BASE = Path(__file__).resolve().parents[2] / "k8s" / "base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """How pods are replaced. All in seconds.

    Attributes:
        min_ready_s: a new one is ready for so long before an old one goes.
        pre_stop_s: from when a pod is no endpoint any more until SIGTERM.
        grace_s: from then until SIGKILL.
        settings: the service's own, of the ConfigMap.
    """

    min_ready_s: float
    pre_stop_s: float
    grace_s: float
    settings: dict[str, str]


def replacement() -> Replacement:
    """That of k8s/base."""
    deployment = yaml.safe_load((_BASE / "deployment.yaml").read_text("utf-8"))["spec"]
    pod: dict[str, Any] = deployment["template"]["spec"]
    (container,) = pod["containers"]
    pre_stop = container.get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})
    pre_stop_s = float(pre_stop["sleep"]["seconds"])
    kustomization = yaml.safe_load((_BASE / "kustomization.yaml").read_text("utf-8"))
    (config,) = kustomization["configMapGenerator"]
    return Replacement(
        min_ready_s=float(deployment["minReadySeconds"]),
        pre_stop_s=pre_stop_s,
        grace_s=float(pod["terminationGracePeriodSeconds"]) - pre_stop_s,
        settings=dict(literal.split("=", maxsplit=1) for literal in config["literals"]),
    )
