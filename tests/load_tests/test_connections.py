# mypy: disable-error-code="type-arg,no-any-return"
"""Both protocols: what becomes of a request is told, and nothing that was not asked for is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from load_tests.bench import load
from load_tests.bench.exchange import Request
from load_tests.bench.grpc_client import GrpcConnection, infer_request, probabilities_of
from load_tests.bench.http_client import HttpConnection, request_bytes
from load_tests.bench.measures import Fate
from load_tests.bench.processes import free_ports
from tritonclient.grpc import service_pb2

from tests.load_tests.misbehaving import OK, TWICE, Misbehaving, serving

_ASK = Request(request_bytes("POST", "/predict", b"film", content_type="image/jpeg"))


@pytest.mark.parametrize(("answer", "surplus"), [(OK, 0), (TWICE, len(OK))])
async def test_an_answer_that_comes_twice_is_counted(answer: bytes, surplus: int) -> None:
    async with serving(Misbehaving((answer,))) as port:
        client = load.Client(lambda: HttpConnection.open(port), patience_s=5)
        reply = await client.ask(_ASK)
        await asyncio.sleep(0.05)
        assert reply.fate is Fate.ANSWERED
        assert client.surplus == surplus
        client.close()
        assert client.surplus == surplus


async def test_an_answer_that_nobody_asked_for_is_never_taken_for_the_next_one() -> None:
    behaviour = Misbehaving((TWICE, OK))
    async with serving(behaviour) as port:
        client = load.Client(lambda: HttpConnection.open(port), patience_s=5)
        for _ in range(2):
            assert (await client.ask(_ASK)).fate is Fate.ANSWERED
        client.close()
    assert behaviour.connections == 2


class _Servicer(grpc.GenericRpcHandler):
    """`ModelInfer` that ends as it is told."""

    def __init__(self, code: grpc.StatusCode, *, delay_s: float = 0.0) -> None:
        self._code, self._delay_s = code, delay_s
        self.timeouts: list[float | None] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/inference.GRPCInferenceService/ModelInfer":
            return None

        async def infer(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
            asked = service_pb2.ModelInferRequest.FromString(data)
            self.timeouts.append(context.time_remaining())
            await asyncio.sleep(self._delay_s)
            if self._code is not grpc.StatusCode.OK:
                await context.abort(self._code, "as told")
            film = asked.raw_input_contents[0]
            assert int.from_bytes(film[:4], "little") == len(film) - 4
            answer = service_pb2.ModelInferResponse(model_name=asked.model_name)
            answer.outputs.add(name="probabilities", datatype="FP32", shape=[1, 2])
            answer.raw_output_contents.append(b"\x00\x00\x00\x3f\x00\x00\xc0\x7f")
            return answer.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(infer)


@asynccontextmanager
async def _grpc_serving(servicer: _Servicer) -> AsyncIterator[tuple[int, grpc.aio.Server]]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([servicer])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port, server
    finally:
        await server.stop(None)


@pytest.mark.parametrize(
    ("code", "fate", "status"),
    [
        (grpc.StatusCode.OK, Fate.ANSWERED, 200),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Fate.REFUSED, 429),
        (grpc.StatusCode.UNAVAILABLE, Fate.REFUSED, 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Fate.FAILED, 504),
        (grpc.StatusCode.DATA_LOSS, Fate.FAILED, 500),
    ],
)
async def test_a_grpc_code_is_a_fate(code: grpc.StatusCode, fate: Fate, status: int) -> None:
    async with _grpc_serving(_Servicer(code)) as (port, _):
        client = load.Client(lambda: GrpcConnection.open(port), patience_s=5)
        reply = await client.ask(infer_request("chest", b"film"))
        client.close()
    assert (reply.fate, reply.status) == (fate, status)
    if fate is Fate.ANSWERED:
        assert reply.response is not None
        assert probabilities_of(reply.response.body) == [0.5, None]


async def test_a_grpc_deadline_is_told_to_the_server_and_kept() -> None:
    servicer = _Servicer(grpc.StatusCode.OK, delay_s=2)
    async with _grpc_serving(servicer) as (port, _):
        client = load.Client(lambda: GrpcConnection.open(port), patience_s=5)
        reply = await client.ask(infer_request("chest", b"film", deadline_ms=300))
        client.close()
    assert (reply.fate, reply.status) == (Fate.FAILED, 504)
    assert servicer.timeouts[0] == pytest.approx(0.3, abs=0.25)


async def test_a_grpc_server_that_dies_drops_its_request_and_refuses_nobody() -> None:
    async with _grpc_serving(_Servicer(grpc.StatusCode.OK, delay_s=5)) as (port, server):
        client = load.Client(lambda: GrpcConnection.open(port), patience_s=5)
        asking = asyncio.ensure_future(client.ask(infer_request("chest", b"film")))
        await asyncio.sleep(0.3)
        await server.stop(0)
        assert (await asking).fate in (Fate.DROPPED, Fate.FAILED)
        client.close()


async def test_without_a_grpc_server_a_request_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("load_tests.bench.grpc_client._CONNECT_LIMIT_S", 0.3)
    (port,) = free_ports(1)
    client = load.Client(lambda: GrpcConnection.open(port), patience_s=5)
    assert (await client.ask(infer_request("chest", b"film"))).fate is Fate.DROPPED


async def test_each_grpc_connection_is_one_of_its_own() -> None:
    async with _grpc_serving(_Servicer(grpc.StatusCode.OK)) as (port, _):
        both = [await GrpcConnection.open(port) for _ in range(2)]
        both[0].close()
        await asyncio.sleep(0.05)
        assert not both[0].is_open
        assert (await both[1].ask(infer_request("chest", b"film"))).status == 200
        both[1].close()
