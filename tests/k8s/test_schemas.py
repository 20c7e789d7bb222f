"""The API server would take every manifest: built-in kinds and those of CRDs, no field unknown."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.k8s.crd_schemas import SCHEMAS
from tests.k8s.manifests import (
    COMPONENTS,
    K8S,
    OPTIONAL,
    OVERLAYS,
    Manifest,
    built,
    overlay,
    with_component,
)

# 1.33: the oldest meant; 1.35: image volumes are on by default; 1.37: the newest of the checker.
_KUBERNETES = ("1.33", "1.35", "1.37")


def _is_built_in(manifest: Manifest) -> bool:
    group = manifest["apiVersion"].rpartition("/")[0]
    return "." not in group or (group.endswith(".k8s.io") and not group.startswith("gateway."))


def _check(manifests: tuple[Manifest, ...]) -> None:
    assert manifests
    for manifest in manifests:
        if _is_built_in(manifest):
            for version in _KUBERNETES:
                kubernetes_validate.validate(manifest, version, strict=True)
        else:
            schema = SCHEMAS[manifest["apiVersion"], manifest["kind"]]
            jsonschema.validate(manifest, schema)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_is_taken_by_three_versions_of_kubernetes(name: str) -> None:
    _check(overlay(name))


@pytest.mark.parametrize("component", OPTIONAL)
def test_an_optional_component_is_taken_too(component: str, tmp_path: Path) -> None:
    _check(with_component(tmp_path, component))


def test_all_overlays_are_there() -> None:
    assert set(OVERLAYS) == {"cpu", "dev", "gpu-local", "gpu-triton", "keda"}
    assert {"autoscaling", "gateway", "prometheus", *OPTIONAL} == set(COMPONENTS)
    assert built(K8S / "base")


def test_dev_needs_no_crd() -> None:
    assert all(_is_built_in(one) for one in overlay("dev"))


def test_nothing_is_named_twice(manifests: tuple[Manifest, ...]) -> None:
    names = [(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(names) == len(set(names))
