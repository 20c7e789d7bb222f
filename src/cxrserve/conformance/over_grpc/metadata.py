"""What the server says about itself, and about the model."""

from __future__ import annotations

from cxrserve.conformance.grpc_inference import infer, request_of
from cxrserve.conformance.grpc_server import GRPC, GrpcServer, read_metadata
from cxrserve.conformance.messages import model_config_pb2, service_pb2
from cxrserve.conformance.over_grpc.health import version_of
from cxrserve.conformance.specification import Extension, Section, grpc, triton

_METADATA = grpc("Metadata")
_CONFIG = triton("extension_model_configuration")


@GRPC(Section.SERVER_METADATA, _METADATA)
def the_server_has_a_name_and_a_version(server: GrpcServer) -> None:
    reply = server.call("ServerMetadata", service_pb2.ServerMetadataRequest())
    if not reply.ok().name or not reply.message.version:
        raise reply.failure("a name and a version")


@GRPC(Section.SERVER_METADATA, _METADATA)
def what_is_not_listed_is_not_offered(server: GrpcServer) -> None:
    questions = {
        Extension.CONFIG: ("ModelConfig", server.named("ModelConfigRequest")),
        Extension.STATISTICS: ("ModelStatistics", server.named("ModelStatisticsRequest")),
        Extension.REPOSITORY: ("RepositoryIndex", service_pb2.RepositoryIndexRequest()),
        Extension.TRACE: ("TraceSetting", service_pb2.TraceSettingRequest()),
        Extension.LOGGING: ("LogSettings", service_pb2.LogSettingsRequest()),
    }
    for extension, (method, request) in questions.items():
        if extension in server.extensions:
            continue
        reply = server.call(method, request)
        if reply.code == "OK":
            raise reply.difference(f"{str(extension)!r} in the list of extensions")
        reply.refused("UNIMPLEMENTED")


@GRPC(Section.MODEL_METADATA, _METADATA)
def the_model_names_its_tensors(server: GrpcServer) -> None:
    reply = server.metadata()
    try:
        model = read_metadata(reply.ok())
    except ValueError as reason:
        raise reply.failure(f"metadata as OIP has them: {reason}") from None
    if model.name != server.options.model:
        raise reply.failure(f"the name {server.options.model!r}")


@GRPC(Section.MODEL_METADATA, _METADATA)
def metadata_of_an_unknown_model_are_not_found(server: GrpcServer) -> None:
    server.metadata(model="no-such-model").refused("NOT_FOUND")


@GRPC(Section.MODEL_CONFIG, _CONFIG, extension=Extension.CONFIG)
def the_configuration_agrees_with_the_metadata(server: GrpcServer) -> None:
    reply = server.call("ModelConfig", server.named("ModelConfigRequest"))
    config = reply.ok().config
    if config.name != server.options.model:
        raise reply.failure(f"the name {server.options.model!r}")
    batch = (-1,) if config.max_batch_size > 0 else ()
    for tensors, specs in (
        (config.input, server.model.inputs),
        (config.output, server.model.outputs),
    ):
        configured = [(one.name, _datatype(one.data_type), (*batch, *one.dims)) for one in tensors]
        described = [(spec.name, spec.datatype, spec.shape) for spec in specs]
        if sorted(configured) != sorted(described):
            raise reply.failure(f"tensors as the metadata describe them: {described}")


@GRPC(Section.MODEL_CONFIG, _CONFIG, extension=Extension.CONFIG)
def configuration_of_an_unknown_model_is_not_found(server: GrpcServer) -> None:
    request = server.named("ModelConfigRequest", "no-such-model")
    server.call("ModelConfig", request).refused("NOT_FOUND")


@GRPC(Section.VERSIONS, _METADATA)
def a_version_has_metadata(server: GrpcServer) -> None:
    reply = server.metadata(version=version_of(server))
    if reply.ok().name != server.options.model:
        raise reply.failure(f"the name {server.options.model!r}")


@GRPC(Section.VERSIONS, _METADATA)
def metadata_of_an_unknown_version_are_not_found(server: GrpcServer) -> None:
    version_of(server)
    server.metadata(version="987654").refused("NOT_FOUND")


@GRPC(Section.VERSIONS, grpc("Inference"))
def a_version_infers_and_names_itself(server: GrpcServer) -> None:
    version = version_of(server)
    reply = infer(server, request_of(server, server.sample, model_version=version))
    if reply.ok().model_version != version:
        raise reply.failure(f"model_version: {version!r}")


@GRPC(Section.VERSIONS, grpc("Inference"))
def an_unknown_version_does_not_infer(server: GrpcServer) -> None:
    version_of(server)
    request = request_of(server, server.sample, model_version="987654")
    infer(server, request).refused("NOT_FOUND")


@GRPC(Section.VERSIONS, grpc("Inference"))
def a_version_that_is_no_number_is_refused(server: GrpcServer) -> None:
    version_of(server)
    server.metadata(version="no-such-version").refused()


def _datatype(number: int) -> str:
    name: str = model_config_pb2.DataType.Name(number)
    return name.removeprefix("TYPE_").replace("STRING", "BYTES")
