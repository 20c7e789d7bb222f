"""Manifests as kustomize builds them, and the questions tests ask of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]

K8S = Path(__file__).resolve().parents[2] / "k8s"
OVERLAYS = sorted(folder.name for folder in (K8S / "overlays").iterdir())
COMPONENTS = sorted(folder.name for folder in (K8S / "components").iterdir())
OPTIONAL = ("grpc-tls", "models-claim", "models-image", "tracing")
FRONTEND = {"app.kubernetes.io/name": "cxrserve", "app.kubernetes.io/component": "frontend"}


@cache
def _kustomize() -> list[str] | None:
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if not shutil.which("kubectl"):
        return None
    said = subprocess.run(
        ["kubectl", "version", "--client", "--output=json"], capture_output=True, check=False
    )
    # kubectl before 1.21, as in Debian 12, has a kustomize 2 without components, and names none.
    if said.returncode or "kustomizeVersion" not in json.loads(said.stdout):
        return None
    return ["kubectl", "kustomize"]


@cache
def built(folder: Path) -> tuple[Manifest, ...]:
    """What kustomize makes of a folder; treat it as read-only."""
    command = _kustomize()
    if command is None:
        pytest.skip("neither kustomize nor a kubectl from 1.21 on is installed")
    out = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    return tuple(one for one in yaml.safe_load_all(out.stdout) if one)


def overlay(name: str) -> tuple[Manifest, ...]:
    return built(K8S / "overlays" / name)


def with_component(folder: Path, component: str) -> tuple[Manifest, ...]:
    """The overlay `cpu` with one component more, as somebody's own overlay would have it."""
    folder = folder.resolve()
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [os.path.relpath(K8S / "overlays" / "cpu", folder)],
                "components": [os.path.relpath(K8S / "components" / component, folder)],
            }
        )
    )
    return built(folder)


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def named(manifests: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    (one,) = [each for each in of_kind(manifests, kind) if each["metadata"]["name"] == name]
    return one


@dataclass(frozen=True)
class Workload:
    """A Deployment or a StatefulSet."""

    manifest: Manifest

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.manifest["spec"]["template"]["metadata"]["labels"])

    @property
    def pod(self) -> Manifest:
        spec: Manifest = self.manifest["spec"]["template"]["spec"]
        return spec

    @property
    def containers(self) -> list[Manifest]:
        return [*self.pod["containers"], *self.pod.get("initContainers", [])]

    @property
    def ports(self) -> dict[str, int]:
        return {
            port["name"]: port["containerPort"]
            for container in self.containers
            for port in container["ports"]
        }

    def is_selected_by(self, selector: Manifest) -> bool:
        assert "matchExpressions" not in selector
        wanted: dict[str, str] = selector.get("matchLabels", {})
        return wanted.items() <= self.labels.items()


def workloads(manifests: tuple[Manifest, ...]) -> list[Workload]:
    return [Workload(one) for one in of_kind(manifests, "Deployment", "StatefulSet")]


def frontend(manifests: tuple[Manifest, ...]) -> Workload:
    return Workload(named(manifests, "Deployment", "cxrserve"))


def environment(manifests: tuple[Manifest, ...], workload: Workload) -> dict[str, str]:
    """The variables of a workload's first container, those that the pod fills in as well."""
    container = workload.pod["containers"][0]
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):
        variables |= named(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container.get("env", []):
        variables[variable["name"]] = variable.get("value") or _from_pod(container, variable)
    return variables


def _from_pod(container: Manifest, variable: Manifest) -> str:
    source = variable["valueFrom"]["resourceFieldRef"]
    assert source["containerName"] == container["name"]
    kind, resource = source["resource"].split(".")
    return str(container["resources"][kind][resource])


def every_value(node: object) -> Iterator[str]:
    """Each string anywhere in a manifest, keys as well."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from every_value(value)
    elif isinstance(node, list):
        for value in node:
            yield from every_value(value)
    elif isinstance(node, str):
        yield node
