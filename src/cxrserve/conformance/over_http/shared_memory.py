"""Shared memory: offered, or refused in words. A server may well leave it off."""

from __future__ import annotations

from cxrserve.conformance.http_inference import infer, request_of
from cxrserve.conformance.http_server import HTTP, HttpServer
from cxrserve.conformance.specification import Extension, Section, triton
from cxrserve.conformance.verdicts import NotOffered

_shared_memory = HTTP(Section.SHARED_MEMORY, triton("extension_shared_memory"))


@_shared_memory
def system_regions_are_listed_or_refused(server: HttpServer) -> None:
    _listed_or_refused(server, "v2/systemsharedmemory/status", Extension.SYSTEM_MEMORY)


@_shared_memory
def CUDA_regions_are_listed_or_refused(server: HttpServer) -> None:  # noqa: N802
    _listed_or_refused(server, "v2/cudasharedmemory/status", Extension.CUDA_MEMORY)


@_shared_memory
def an_unknown_region_is_refused(server: HttpServer) -> None:
    answer = server.get("v2/systemsharedmemory/region/no-such-region/status")
    if not answer.is_not_there:
        answer.refused()


@_shared_memory
def an_input_in_an_unknown_region_is_refused(server: HttpServer) -> None:
    document = request_of(server.sample)
    del document["inputs"][0]["data"]
    document["inputs"][0]["parameters"] = {
        "shared_memory_region": "no-such-region",
        "shared_memory_byte_size": len(server.sample[0].raw()),
    }
    infer(server, document).refused()


def _listed_or_refused(server: HttpServer, path: str, extension: Extension) -> None:
    answer = server.get(path)
    if answer.status >= 400:
        if not answer.is_not_there:
            answer.refused()
        raise NotOffered("shared memory is refused", sent=answer.sent, came=answer.came)
    if not isinstance(answer.json(), list):
        raise answer.failure("an array of regions")
    if extension not in server.extensions:
        raise answer.difference(f"{str(extension)!r} in the list of extensions")
