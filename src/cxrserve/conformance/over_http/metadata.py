"""What the server says about itself, and about the model."""

from __future__ import annotations

from typing import Any

from cxrserve.conformance.http_server import HTTP, HttpServer
from cxrserve.conformance.model import read_model
from cxrserve.conformance.specification import Extension, Section, rest, triton

_SERVER, _MODEL = rest("Server Metadata"), rest("Model Metadata")
_CONFIG = triton("extension_model_configuration")

# What an extension answers, to see whether one that is not listed is refused cleanly.
_QUESTIONS = {
    Extension.TRACE: ("GET", "v2/trace/setting"),
    Extension.LOGGING: ("GET", "v2/logging"),
    Extension.STATISTICS: ("GET", "v2/models/stats"),
    Extension.REPOSITORY: ("POST", "v2/repository/index"),
}


@HTTP(Section.SERVER_METADATA, _SERVER)
def the_server_has_a_name_and_a_version(server: HttpServer) -> None:
    answer = server.get("v2").ok()
    answer.member("name", str)
    answer.member("version", str)


@HTTP(Section.SERVER_METADATA, _SERVER)
def extensions_are_a_list_of_names(server: HttpServer) -> None:
    answer = server.get("v2").ok()
    if not all(isinstance(one, str) for one in answer.member("extensions", list)):
        raise answer.failure("'extensions' to hold texts only")


@HTTP(Section.SERVER_METADATA, _SERVER)
def what_is_not_listed_is_not_offered(server: HttpServer) -> None:
    config = {Extension.CONFIG: ("GET", server.model_path("/config"))}
    for extension, (method, path) in (_QUESTIONS | config).items():
        if extension in server.extensions:
            continue
        answer = server.call(method, path, b"{}" if method == "POST" else b"")
        if answer.status < 400:
            raise answer.difference(f"{str(extension)!r} in the list of extensions")
        if not answer.is_not_there:
            answer.refused()


@HTTP(Section.MODEL_METADATA, _MODEL)
def the_model_names_its_tensors(server: HttpServer) -> None:
    answer = server.get(server.model_path()).ok()
    answer.member("platform", str)
    try:
        model = read_model(answer.json())
    except ValueError as reason:
        raise answer.failure(f"metadata as OIP has them: {reason}") from None
    if model.name != server.options.model:
        raise answer.failure(f"the name {server.options.model!r}")


@HTTP(Section.MODEL_METADATA, _MODEL)
def metadata_of_an_unknown_model_are_404(server: HttpServer) -> None:
    server.get(server.model_path(model="no-such-model")).refused(status=404)


@HTTP(Section.MODEL_CONFIG, _CONFIG, extension=Extension.CONFIG)
def the_configuration_agrees_with_the_metadata(server: HttpServer) -> None:
    answer = server.get(server.model_path("/config")).ok()
    if answer.member("name", str) != server.options.model:
        raise answer.failure(f"the name {server.options.model!r}")
    batched = answer.json().get("max_batch_size", 0) not in (0, "0")
    for member, specs in (("input", server.model.inputs), ("output", server.model.outputs)):
        described = [(spec.name, spec.datatype, spec.shape) for spec in specs]
        try:
            configured = [_configured(one, batched) for one in answer.member(member, list)]
        except (AttributeError, TypeError, ValueError):
            raise answer.failure(f"each {member} as model_config.proto has it") from None
        if sorted(configured) != sorted(described):
            raise answer.failure(f"{member}s as the metadata describe them: {described}")


@HTTP(Section.MODEL_CONFIG, _CONFIG, extension=Extension.CONFIG)
def configuration_of_an_unknown_model_is_refused(server: HttpServer) -> None:
    server.get(server.model_path("/config", model="no-such-model")).refused()


def _configured(one: dict[str, Any], batched: bool) -> tuple[str, str, tuple[int, ...]]:
    datatype = str(one.get("data_type", "")).removeprefix("TYPE_").replace("STRING", "BYTES")
    # Protocol buffers' JSON writes int64 as text; Triton writes numbers.
    sizes = tuple(int(size) for size in one.get("dims", []))
    return str(one.get("name")), datatype, ((-1, *sizes) if batched else sizes)
