"""`about.json`: what the page finds where it is served from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from cxrserve import __version__
from cxrserve.answer import NOTICE
from cxrserve.page.local_models import GATE, LocalModel
from cxrserve.page.vendor import RUNTIME_FILES


def about(
    *,
    service: str | None,
    default_models: Sequence[str],
    files: Iterable[str],
    models: Iterable[LocalModel],
) -> dict[str, Any]:
    """What the page must know before it shows itself.

    Args:
        service: where the API is, from the page; None where there is none.
        default_models: that the service asks where a request names none; empty: it decides.
        files: names of the page's files.
        models: that can run on the device.
    """
    described = [model.described() for model in models]
    return {
        "version": __version__,
        "notice": NOTICE,
        "service": service,
        "default_models": list(default_models),
        "local": {
            "runtime": set(RUNTIME_FILES) <= set(files),
            "models": [one for one in described if one["name"] != GATE],
            "gate": next((one for one in described if one["name"] == GATE), None),
        },
        "files": sorted(files),
    }


def written(told: dict[str, Any]) -> bytes:
    """`about.json` as bytes."""
    return json.dumps(told, ensure_ascii=False).encode()
