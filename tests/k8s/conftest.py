from __future__ import annotations

import pytest

from tests.k8s.manifests import OVERLAYS, Manifest, overlay


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    """Each overlay in turn."""
    return overlay(request.param)
