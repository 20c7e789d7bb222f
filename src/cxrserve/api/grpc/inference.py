"""`inference.GRPCInferenceService`: thin, as its HTTP sister; errors are the envelope's."""

# ruff: noqa: N802 - the names are the protocol's

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from google.protobuf.json_format import ParseDict
from tritonclient.grpc import model_config_pb2, service_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from cxrserve.api.envelope import unforeseen
from cxrserve.api.grpc import tensors
from cxrserve.api.grpc.callers import Context, caller_of
from cxrserve.api.grpc.envelope import request_id
from cxrserve.api.grpc.statuses import detail_of
from cxrserve.batching.admission import Admission
from cxrserve.errors import CxrError, NotOffered
from cxrserve.observability.record import current
from cxrserve.oip.inference import priority_of
from cxrserve.oip.plane import Plane

_FINAL = "triton_final_response"
_WANTS_FINAL = "triton_enable_empty_final_response"
# Answers of one stream that are being computed; what comes after waits unread.
_MOST_AT_ONCE = 64
# Reading or writing more than this would hold up the event loop.
_LARGE = 1 << 16


class InferenceService(service_pb2_grpc.GRPCInferenceServiceServicer):
    """The protocol's service.

    Args:
        plane: what the protocol can ask for.
        admission: shared with HTTP.
    """

    def __init__(self, plane: Plane, admission: Admission) -> None:
        self._plane, self._admission = plane, admission

    async def ServerLive(self, request: Any, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._plane.is_ready)

    async def ModelReady(self, request: Any, context: Context) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(
            ready=self._plane.is_model_ready(request.name, request.version)
        )

    async def ServerMetadata(self, request: Any, context: Context) -> pb.ServerMetadataResponse:
        return ParseDict(self._plane.server_metadata(), pb.ServerMetadataResponse())

    async def ModelMetadata(self, request: Any, context: Context) -> pb.ModelMetadataResponse:
        told = self._plane.model_metadata(request.name, request.version)
        return ParseDict(told, pb.ModelMetadataResponse())

    async def ModelConfig(self, request: Any, context: Context) -> pb.ModelConfigResponse:
        told = self._plane.model_config(request.name, request.version)
        return pb.ModelConfigResponse(config=ParseDict(told, model_config_pb2.ModelConfig()))

    async def ModelStatistics(self, request: Any, context: Context) -> pb.ModelStatisticsResponse:
        told = self._plane.statistics(request.name, request.version)
        return ParseDict(told, pb.ModelStatisticsResponse())

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        priority = priority_of(tensors.parameters_of(request.parameters))
        current().of_class(priority)
        with self._admission.enter(priority) as admitted:
            admitted.grow(request.ByteSize())
            regions = self._plane.regions
            read = partial(tensors.infer_request, request, regions)
            large = request.ByteSize() > _LARGE
            asked = await asyncio.to_thread(read) if large else read()
            given = await self._plane.infer(asked, caller_of(context))
            write = partial(tensors.infer_response, given, asked, regions)
            return await asyncio.to_thread(write) if given.nbytes() > _LARGE else write()

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answers in the order of the requests, which are computed side by side."""
        answers: asyncio.Queue[asyncio.Task[pb.ModelStreamInferResponse] | None]
        answers = asyncio.Queue(_MOST_AT_ONCE)

        async def ask() -> None:
            async for request in request_iterator:
                await answers.put(group.create_task(self._one_of_stream(request, context)))
            await answers.put(None)

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            while (task := await answers.get()) is not None:
                yield await task

    async def RepositoryIndex(self, request: Any, context: Context) -> pb.RepositoryIndexResponse:
        models = await self._plane.index(ready=request.ready)
        return ParseDict({"models": models}, pb.RepositoryIndexResponse())

    async def RepositoryModelLoad(
        self, request: Any, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        await self._plane.load(request.model_name, tensors.parameters_of(request.parameters))
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: Any, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        await self._plane.unload(request.model_name, tensors.parameters_of(request.parameters))
        return pb.RepositoryModelUnloadResponse()

    async def SystemSharedMemoryStatus(
        self, request: Any, context: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        regions = {one.name: one.as_dict() for one in self._plane.regions.status(request.name)}
        return ParseDict({"regions": regions}, pb.SystemSharedMemoryStatusResponse())

    async def SystemSharedMemoryRegister(
        self, request: Any, context: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        self._plane.regions.register(
            request.name, request.key, offset=request.offset, byte_size=request.byte_size
        )
        return pb.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(
        self, request: Any, context: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        self._plane.regions.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(
        self, request: Any, context: Context
    ) -> pb.CudaSharedMemoryStatusResponse:
        return pb.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(self, request: Any, context: Context) -> Any:
        raise NotOffered("CUDA shared memory is not served", advice="send the tensors")

    async def CudaSharedMemoryUnregister(
        self, request: Any, context: Context
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        # Clients forget all regions when they begin and end; there are none to forget.
        return pb.CudaSharedMemoryUnregisterResponse()

    async def TraceSetting(self, request: Any, context: Context) -> pb.TraceSettingResponse:
        if request.model_name:
            self._plane.check_model(request.model_name)
        asked = {name: list(one.value) or None for name, one in request.settings.items()}
        told = self._plane.set_trace(asked)
        return pb.TraceSettingResponse(
            settings={
                name: pb.TraceSettingResponse.SettingValue(value=value)
                for name, value in told.items()
            }
        )

    async def LogSettings(self, request: Any, context: Context) -> pb.LogSettingsResponse:
        asked = {
            name: getattr(one, one.WhichOneof("parameter_choice") or "", None)
            for name, one in request.settings.items()
        }
        response = pb.LogSettingsResponse()
        for name, value in self._plane.set_log(asked).items():
            _set_log(response.settings[name], value)
        return response

    async def _one_of_stream(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelStreamInferResponse:
        """One that fails is told so in its place; the stream goes on."""
        wrong, telemetry = "", self._plane.telemetry
        with telemetry.question(current().child(request_id(), "oip-grpc")):
            try:
                response = await self.ModelInfer(request, context)
            except Exception as error:  # noqa: BLE001 - nor does it end for one that nobody foresaw
                known = error if isinstance(error, CxrError) else unforeseen(error, request_id())
                telemetry.refused(known)
                response, wrong = pb.ModelInferResponse(id=request.id), detail_of(known)
        if tensors.parameters_of(request.parameters).get(_WANTS_FINAL) is True:
            response.parameters[_FINAL].bool_param = True
        return pb.ModelStreamInferResponse(error_message=wrong, infer_response=response)


def _set_log(setting: pb.LogSettingsResponse.SettingValue, value: bool | int | str) -> None:
    if isinstance(value, bool):
        setting.bool_param = value
    elif isinstance(value, int):
        setting.uint32_param = value
    else:
        setting.string_param = value
