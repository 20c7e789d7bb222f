"""What goes wrong before a real Triton: answers are spoilt, packets vanish."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

_LONGEST_S = 60.0


class Fault(StrEnum):
    """What the proxy does to an inference."""

    NONE = "none"
    NAN = "nan"
    SHAPE = "shape"
    ANOTHER = "another"
    """The answer of another request, as Triton 2.51 gave it here after it had hung."""
    SWAPPED = "swapped"
    """Logits of the batch in another order than its maps."""
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    EXHAUSTED = "exhausted"
    SLOW = "slow"
    HANGING = "hanging"


_REFUSALS = {
    Fault.INTERNAL: grpc.StatusCode.INTERNAL,
    Fault.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Fault.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class FaultyProxy(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Before a real Triton, on a port of its own; health and configuration pass as they are.

    Attributes:
        fault: done to every inference from now on.
        slow_s: what `Fault.SLOW` adds.
        version: that the server says it has; empty: its own.
        seen: inferences that came.
        cancelled: inferences whose caller called them off while they waited here.
    """

    def __init__(self, triton: str) -> None:
        self.fault = Fault.NONE
        self.slow_s = 1.0
        self.version = ""
        self.seen = self.cancelled = 0
        self._channel = grpc.insecure_channel(triton)
        self._triton = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def ServerReady(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._passed_on(self._triton.ServerReady, request, context)

    def ServerLive(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._passed_on(self._triton.ServerLive, request, context)

    def ServerMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = self._passed_on(self._triton.ServerMetadata, request, context)
        answer.version = self.version or answer.version
        return answer

    def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._passed_on(self._triton.ModelConfig, request, context)

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        fault = self.fault
        self.seen += 1
        if fault in _REFUSALS:
            context.abort(_REFUSALS[fault], "as the test wants it")
        if fault in (Fault.SLOW, Fault.HANGING):
            end = time.monotonic() + (self.slow_s if fault is Fault.SLOW else _LONGEST_S)
            while time.monotonic() < end:
                if not context.is_active():
                    self.cancelled += 1
                    return service_pb2.ModelInferResponse()
                time.sleep(0.005)
        answer = self._passed_on(self._triton.ModelInfer, request, context)
        return _spoilt(answer, fault)

    def close(self) -> None:
        self._channel.close()

    def _passed_on(self, method: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(request, timeout=_LONGEST_S)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details() or "")


@contextmanager
def faulty_proxy(
    triton: str, credentials: grpc.ServerCredentials | None = None
) -> Iterator[tuple[FaultyProxy, str]]:
    """A proxy, and the `host:port` that it listens on; with credentials, over TLS."""
    proxy = FaultyProxy(triton)
    server = grpc.server(ThreadPoolExecutor(16))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(proxy, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield proxy, f"127.0.0.1:{port}"
    finally:
        proxy.fault = Fault.NONE
        server.stop(0).wait()
        proxy.close()


@contextmanager
def black_hole() -> Iterator[str]:
    """A `host:port` that answers no SYN, as behind a firewall that drops packets."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        # Whoever comes after these finds the backlog full; Linux then drops what arrives.
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(address)
            yield f"{address[0]}:{address[1]}"
        finally:
            for one in waiting:
                one.close()


class Forwarder:
    """A TCP port before another one, whose traffic can be made to vanish and to come back.

    While `black` is set nothing is passed on in either direction, and connections stay open: the
    port is a black hole for who uses it already.
    """

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = host, int(port)
        self.black = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._closing = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closing = True
        self.black.clear()
        for one in (self._listening, *self._open):
            one.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                caller.close()
                continue
            self._open += [caller, server]
            for source, sink in ((caller, server), (server, caller)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                while self.black.is_set():
                    time.sleep(0.01)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for one in (source, sink):
                one.close()


def _spoilt(answer: Any, fault: Fault) -> Any:
    if fault is Fault.ANOTHER:
        answer.id = "1"
        return answer
    if fault is Fault.SHAPE:
        for output in answer.outputs:
            output.shape[-1] += 1
        return answer
    if fault not in (Fault.NAN, Fault.SWAPPED):
        return answer
    for place, output in enumerate(answer.outputs):
        values = np.frombuffer(answer.raw_output_contents[place], np.float32).copy()
        if fault is Fault.NAN:
            values[:] = np.nan
        elif output.name == "logits":
            values = values[::-1]
        answer.raw_output_contents[place] = values.tobytes()
    return answer
