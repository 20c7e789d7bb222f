"""Puts the gRPC server together, and starts and ends it on the event loop of the service."""

from __future__ import annotations

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health  # type: ignore[attr-defined]
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection
from tritonclient.grpc import service_pb2, service_pb2_grpc

from cxrserve.api.grpc.envelope import Envelope
from cxrserve.api.grpc.inference import InferenceService
from cxrserve.api.grpc.radiology import Radiology
from cxrserve.batching.admission import Admission
from cxrserve.observability.telemetry import Telemetry
from cxrserve.oip.plane import Plane
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings
from cxrserve.v1 import radiology_pb2, radiology_pb2_grpc

_COMPRESSION = {
    "off": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}
# Words around the files of one request.
_ENVELOPE_BYTES = 1 << 20
# As times the queue: streams and health watches stay open without asking for anything.
_MOST_CALLS = 4
INFERENCE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
RADIOLOGY = radiology_pb2.DESCRIPTOR.services_by_name["Radiology"].full_name


class GrpcServer:
    """The gRPC side of the service: same models, same batcher, same limits as HTTP.

    Args:
        runtime: the service, and its settings: port, TLS, limits of connections and messages.
        plane: what the Open Inference Protocol can ask for.
        admission, telemetry: shared with HTTP.
    """

    def __init__(
        self, runtime: Runtime, plane: Plane, admission: Admission, telemetry: Telemetry
    ) -> None:
        settings = self._settings = runtime.settings
        self._server = grpc.aio.server(
            interceptors=[Envelope(telemetry)],
            options=_options(settings),
            # Each holds a whole message before it is admitted.
            maximum_concurrent_rpcs=_MOST_CALLS * settings.queue_size,
            compression=_COMPRESSION[settings.grpc_compression],
        )
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
            InferenceService(plane, admission), self._server
        )
        radiology_pb2_grpc.add_RadiologyServicer_to_server(
            Radiology(runtime, admission, telemetry), self._server
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (INFERENCE, RADIOLOGY, HEALTH, reflection.SERVICE_NAME), self._server
        )

    async def start(self) -> int:
        """Listen, not serving yet; the port.

        Raises:
            OSError: the port is taken, or a certificate cannot be read.
        """
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{host}:{settings.grpc_port}"
        await self._say(HealthCheckResponse.NOT_SERVING)
        try:
            port = _bind(self._server, address, settings)
        except RuntimeError as error:
            raise OSError(f"gRPC cannot listen on {address}") from error
        await self._server.start()
        return port

    async def ready(self) -> None:
        """Models are loaded: health says so."""
        await self._say(HealthCheckResponse.SERVING)

    async def leave(self) -> None:
        """Health says no from now on; calls are answered."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Take no new call; return when those in flight are answered, or after `grace_s`."""
        await self.leave()
        await self._server.stop(grace_s)

    async def _say(self, status: HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in ("", INFERENCE, RADIOLOGY):
            await self._health.set(service, status)


def _bind(server: grpc.aio.Server, address: str, settings: Settings) -> int:
    if settings.grpc_tls_cert is None or settings.grpc_tls_key is None:
        if settings.grpc_tls_cert or settings.grpc_tls_key or settings.grpc_tls_client_ca:
            raise OSError("gRPC over TLS needs both grpc_tls_cert and grpc_tls_key")
        return server.add_insecure_port(address)
    chain, key = settings.grpc_tls_cert.read_bytes(), settings.grpc_tls_key.read_bytes()
    clients = settings.grpc_tls_client_ca
    credentials = grpc.ssl_server_credentials(
        [(key, chain)],
        root_certificates=clients.read_bytes() if clients else None,
        require_client_auth=clients is not None,
    )
    return server.add_secure_port(address, credentials)


def _options(settings: Settings) -> list[tuple[str, int]]:
    most_bytes = settings.limits().upload_bytes + _ENVELOPE_BYTES
    keepalive_ms = round(settings.grpc_keepalive_s * 1e3)
    options = [
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", most_bytes),
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", min(keepalive_ms, 20_000)),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may probe as often as we do; gRPC's default ends those that do so twice.
        ("grpc.http2.min_ping_interval_without_data_ms", min(keepalive_ms, 10_000)),
        # A second service on this port must fail at once, not share its connections.
        ("grpc.so_reuseport", 0),
    ]
    if settings.grpc_max_connection_age_s is not None:
        age_ms = round(settings.grpc_max_connection_age_s * 1e3)
        grace_ms = settings.shutdown_grace_s * 1000
        options += [
            ("grpc.max_connection_age_ms", age_ms),
            ("grpc.max_connection_age_grace_ms", grace_ms),
        ]
    return options
