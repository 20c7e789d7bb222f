# mypy: disable-error-code="import-untyped,import-not-found,misc,no-any-return"
"""The Open Inference Protocol over gRPC for a load generator: messages serialized beforehand."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from load_tests.bench.exchange import Request, Response

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_CONNECT_LIMIT_S = 10.0
_OPTIONS = [
    # Else channels to one address share a connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
]
# As google/rpc/code.proto says which HTTP status stands for which code.
_STATUS = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_ANY_OTHER = 500


class GrpcConnection:
    """A channel with a connection of its own, one call at a time."""

    surplus = 0  # HTTP/2 has no place for an answer that nobody asked for

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._call = channel.unary_unary(
            _METHOD, request_serializer=_as_it_is, response_deserializer=_as_it_is
        )
        self._open = True

    @classmethod
    async def open(cls, port: int) -> GrpcConnection:
        """Connect to 127.0.0.1.

        Raises:
            OSError: nobody listens.
        """
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS)
        try:
            async with asyncio.timeout(_CONNECT_LIMIT_S):
                await channel.channel_ready()
        except BaseException as error:
            await channel.close(None)
            if isinstance(error, TimeoutError):
                raise ConnectionRefusedError(f"no gRPC at port {port}") from None
            raise
        return cls(channel)

    @property
    def is_open(self) -> bool:
        """Another call may be made."""
        return self._open

    async def ask(self, request: Request) -> Response:
        """Make one call; its `timeout_s` is the deadline that gRPC tells the server.

        Raises:
            ConnectionError: the connection was lost before the answer came.
        """
        try:
            body = await self._call(request.data, timeout=request.timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE and not self._is_ready():
                self.close()
                raise ConnectionResetError("the server ended the connection") from None
            text = (error.details() or "").encode()
            return Response(_STATUS.get(error.code(), _ANY_OTHER), body=text)
        return Response(_STATUS[grpc.StatusCode.OK], body=body)

    def close(self) -> None:
        """End the connection; what gRPC does for that goes on in the background."""
        if self._open:
            self._open = False
            _closing.add(task := asyncio.ensure_future(self._channel.close(None)))
            task.add_done_callback(_closing.discard)

    def _is_ready(self) -> bool:
        """A server that refuses is still there; one that died is not."""
        return self._channel.get_state() is grpc.ChannelConnectivity.READY


def _as_it_is(message: bytes) -> bytes:
    return message


# The event loop holds tasks weakly.
_closing: set[asyncio.Future[None]] = set()


def infer_request(model: str, image: bytes, *, deadline_ms: float | None = None) -> Request:
    """`ModelInfer` of one encoded image: BYTES `[1, 1]`, its length in four bytes before it."""
    message = service_pb2.ModelInferRequest(
        model_name=model,
        inputs=[
            service_pb2.ModelInferRequest.InferInputTensor(
                name="image", datatype="BYTES", shape=[1, 1]
            )
        ],
        outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")],
        raw_input_contents=[len(image).to_bytes(4, "little") + image],
    )
    timeout_s = None if deadline_ms is None else deadline_ms / 1e3
    return Request(message.SerializeToString(), timeout_s)


def probabilities_of(body: bytes) -> list[float | None]:
    """The FP32 output `probabilities` of a `ModelInferResponse`; NaN stands for none.

    Raises:
        ValueError: there is no such output.
    """
    message = service_pb2.ModelInferResponse.FromString(body)
    for tensor, raw in zip(message.outputs, message.raw_output_contents, strict=True):
        if tensor.name == "probabilities":
            row = np.frombuffer(raw, np.dtype("<f4")).tolist()
            return [None if value != value else value for value in row]  # noqa: PLR0124 - NaN
    raise ValueError("the answer has no output `probabilities`")
