"""The fastest way to run a package on this machine, as `cxrserve models tune` found it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxrserve.engines.hardware import fingerprint
from cxrserve.engines.warm_up import write_json
from cxrserve.models.package import ModelPackage

_log = logging.getLogger(__name__)


class Way(BaseModel):
    """One way to run a package.

    `graph` is the precision of the ONNX graph, `precision` that of the arithmetic. `slots` calls
    run at once, on `threads` cores each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["onnxruntime", "openvino", "torch"]
    device: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    graph: Literal["fp32", "fp16", "int8"]
    precision: Literal["fp32", "bf16", "fp16", "int8"]
    slots: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)] = 1


class Plan(Way):
    """A way that was measured.

    `batch` is the size that gave `images_per_s`; `difference` is the 99th percentile of the
    difference of a probability to the package's most exact graph, on phantoms.
    """

    batch: Annotated[int, Field(ge=1)]
    images_per_s: Annotated[float, Field(gt=0)]
    difference: Annotated[float, Field(ge=0)]


class PlanStore:
    """Plans in files, one a package digest, each with an entry for each kind of machine.

    Args:
        folder: the cache folder; None: nothing is read or written.
        hardware: what the plans hold for; by default this machine.
    """

    def __init__(self, folder: Path | None, *, hardware: str | None = None) -> None:
        self._folder = folder and folder / "plans"
        self._hardware = hardware or fingerprint()

    def read(self, digest: str) -> Plan | None:
        """The plan of a package digest on this hardware; an unreadable file counts as none."""
        entry = self._entries(digest).get(self._hardware)
        try:
            return None if entry is None else Plan.model_validate(entry)
        except ValidationError as error:
            _log.warning("a plan cannot be used, tune again: %s", error.errors()[0]["msg"])
            return None

    def write(self, digest: str, plan: Plan) -> Path | None:
        """Keep a plan, and say where.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self._path(digest)
        if path is not None:
            write_json(path, {**self._entries(digest), self._hardware: plan.model_dump()})
        return path

    def _entries(self, digest: str) -> dict[str, Any]:
        path = self._path(digest)
        if path is None or not path.is_file():
            return {}
        try:
            held = json.loads(path.read_text("utf-8"))
            if not isinstance(held, dict):
                raise ValueError("it holds no plans")
            return held
        except (OSError, ValueError) as error:
            _log.warning("plans %s cannot be used, tune again: %s", path.name, error)
            return {}

    def _path(self, digest: str) -> Path | None:
        return self._folder and self._folder / f"{digest.removeprefix('sha256:')}.json"


def plan_of(package: ModelPackage, store: PlanStore) -> Plan | None:
    """The plan that serving should use, if the package was tuned on such a machine."""
    return store.read(package.digest)
