# mypy: disable-error-code="import-untyped"
"""The messages of the protocol, as tritonclient brings them; it carries no types.

They are those of Triton's grpc_service.proto, which has OIP's own and those of the extensions.
"""

from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

__all__ = ["model_config_pb2", "service_pb2", "service_pb2_grpc"]
