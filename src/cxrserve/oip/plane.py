"""Everything the Open Inference Protocol can ask for, once for all wires."""

from __future__ import annotations

import asyncio
import time

from cxrserve.errors import BadTensor, BrokenPackage, CxrError, ModelNotFound, NotOffered
from cxrserve.models.repository import LoadedModel, ModelRepository, packages_listed
from cxrserve.observability.telemetry import Telemetry
from cxrserve.oip import describe
from cxrserve.oip.describe import Json
from cxrserve.oip.inference import Caller, infer, model_of
from cxrserve.oip.interface import wire_version
from cxrserve.oip.messages import InferRequest, InferResponse
from cxrserve.oip.shared_memory import Regions
from cxrserve.radiograph.limits import MIB
from cxrserve.runtime import Runtime


class Plane:
    """One service's models, as the protocol sees them.

    Args:
        runtime: the service.
        telemetry: told of answers.
    """

    def __init__(self, runtime: Runtime, telemetry: Telemetry) -> None:
        self._runtime, self.telemetry = runtime, telemetry
        self._control = runtime.settings.repository_control == "on"
        self.regions = Regions(
            allowed=runtime.settings.shared_memory == "on",
            most_bytes=runtime.settings.limits().upload_bytes + MIB,
        )

    @property
    def is_ready(self) -> bool:
        """Models are loaded and warm, and the service is not draining."""
        return self._runtime.is_ready

    @property
    def _repository(self) -> ModelRepository:
        return self._runtime.predictor.repository

    async def infer(self, request: InferRequest, caller: Caller) -> InferResponse:
        """Answer one request; see `inference.infer`."""
        return await infer(self._runtime.predictor, request, caller, self.telemetry)

    def is_model_ready(self, name: str, version: str) -> bool:
        """It is loaded, and the service answers."""
        try:
            self._model(name, version)
        except CxrError:
            return False
        return True

    def server_metadata(self) -> Json:
        """See `describe.server_metadata`."""
        return describe.server_metadata(shared_memory=self.regions.allowed)

    def model_metadata(self, name: str, version: str) -> Json:
        """See `describe.model_metadata`."""
        model = self._model(name, version)
        chosen = [model] if version else [m for m in self._repository if m.manifest.name == name]
        versions = [wire_version(one.manifest.version) for one in chosen]
        return describe.model_metadata(model, versions)

    def model_config(self, name: str, version: str) -> Json:
        """See `describe.model_config`."""
        model = self._model(name, version)
        return describe.model_config(model, self._runtime.predictor.batcher.queue_of(model.engine))

    def statistics(self, name: str, version: str) -> Json:
        """Of one model (all its versions, or one), or of all."""
        asked = self._model(name, version) if name else None
        predictor = self._runtime.predictor
        now, wall = predictor.clock(), time.time()
        chosen = [
            model
            for model in predictor.repository
            if asked is None or model is asked or (not version and model.manifest.name == name)
        ]
        return {
            "model_stats": [
                describe.statistics(
                    model,
                    predictor.batcher.statistics_of(model.engine),
                    wall=lambda at: wall - (now - at),
                )
                for model in chosen
            ]
        }

    async def index(self, *, ready: bool) -> list[Json]:
        """See `describe.index`."""
        folder = self._runtime.settings.models_dir
        on_disk = await asyncio.to_thread(packages_listed, folder)
        return describe.index(self._repository, on_disk=on_disk, ready=ready)

    async def load(self, name: str, parameters: Json) -> None:
        """Load a model's packages from the models folder.

        Raises:
            NotOffered: the setting does not allow it, or another configuration is asked for.
            BadTensor: it cannot be loaded, in the words that Triton's clients look for.
        """
        self._check_control()
        if parameters:
            raise NotOffered(
                "a model is loaded as its package has it; parameters of load are not served"
            )
        try:
            await self._runtime.load(name)
        except (ModelNotFound, BrokenPackage) as error:
            raise BadTensor(f"failed to load '{name[:64]}', {error.detail}") from error

    async def unload(self, name: str, parameters: Json) -> None:
        """Unload a model, or the one version that the parameter `version` names.

        Raises:
            NotOffered: the setting does not allow it.
            ModelNotFound: it is not loaded.
        """
        self._check_control()
        version = parameters.get("version")
        if not isinstance(version, str | None):
            raise BadTensor("parameter 'version' must be text")
        if version is not None:
            version = self._model(name, version).manifest.version
        await self._runtime.unload(name, version)

    def set_trace(self, settings: Json) -> Json:
        """Nothing is traced, and nothing can be made to be.

        Raises:
            NotOffered: another setting is asked for than is in force.
        """
        return _unchanged(settings, describe.NOT_TRACED, "requests hold patients' images")

    def set_log(self, settings: Json) -> Json:
        """How the log is written is a setting of the process.

        Raises:
            NotOffered: another setting is asked for than is in force.
        """
        return _unchanged(settings, describe.LOGGED, "set CXRSERVE_LOG_LEVEL at the start")

    def check_model(self, name: str, version: str = "") -> None:
        """Raise `ModelNotFound` where none of this name and version is loaded."""
        self._model(name, version)

    def _model(self, name: str, version: str) -> LoadedModel:
        return model_of(self._repository, name, version)

    def _check_control(self) -> None:
        if not self._control:
            raise NotOffered(
                "models are not loaded and unloaded on request here",
                advice="set CXRSERVE_REPOSITORY_CONTROL=on",
            )


def _unchanged(asked: Json, in_force: Json, why: str) -> Json:
    for name, value in asked.items():
        if name not in in_force:
            raise BadTensor(f"there is no setting '{str(name)[:64]}'")
        if value is not None and value != in_force[name]:
            raise NotOffered(f"'{name}' cannot be changed while the service runs", advice=why)
    return in_force
