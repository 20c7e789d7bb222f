"""The parts of the specification, as the checks cite them.

OIP is github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md and
inference_grpc.md); the extensions are github.com/triton-inference-server/server, docs/protocol.
"""

from __future__ import annotations

from enum import StrEnum


class Section(StrEnum):
    """A row of the table, in its order."""

    HEALTH = "health"
    SERVER_METADATA = "server metadata"
    MODEL_METADATA = "model metadata"
    MODEL_CONFIG = "model config"
    MODEL_READY = "model ready"
    VERSIONS = "versions"
    INFERENCE = "inference"
    BINARY = "binary tensors"
    BYTES = "BYTES tensors"
    COMPRESSION = "compression"
    OUTPUTS = "requested outputs"
    CLASSIFICATION = "classification"
    ID = "request id"
    PARAMETERS = "parameters"
    ERRORS = "errors"
    QUERY = "query parameters"
    REPOSITORY = "repository index"
    CONTROL = "load and unload"
    STATISTICS = "statistics"
    TRACE = "trace settings"
    LOGGING = "log settings"
    SHARED_MEMORY = "shared memory"
    STREAMING = "streams"
    HEALTH_CHECKING = "grpc.health.v1"
    REFLECTION = "reflection"
    DEADLINES = "deadlines"
    AFTERWARDS = "afterwards"


class Extension(StrEnum):
    """Names that a server lists in the field `extensions` of its metadata."""

    BINARY = "binary_tensor_data"
    CLASSIFICATION = "classification"
    CONFIG = "model_configuration"
    CUDA_MEMORY = "cuda_shared_memory"
    LOGGING = "logging"
    PARAMETERS = "parameters"
    REPOSITORY = "model_repository"
    SCHEDULE = "schedule_policy"
    STATISTICS = "statistics"
    SYSTEM_MEMORY = "system_shared_memory"
    TRACE = "trace"


def rest(part: str) -> str:
    """A part of OIP's HTTP/REST document."""
    return f"OIP REST, {part}"


def grpc(part: str) -> str:
    """A part of OIP's gRPC document."""
    return f"OIP gRPC, {part}"


def triton(document: str) -> str:
    """A document of Triton's docs/protocol, by its file's name without `.md`."""
    return f"Triton, {document}"
