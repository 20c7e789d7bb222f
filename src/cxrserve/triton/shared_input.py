"""Pixels for a Triton on this node, in system shared memory: nothing is copied through a socket."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, shared_memory

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class _Region:
    name: str
    size: int
    handle: Any


class SharedInputs:
    """Regions that one Triton has been told of, each used by one batch at a time.

    A region whose batch was not answered is never used again: Triton may still read it.
    """

    def __init__(self, client: InferenceServerClient, limit_s: float) -> None:
        self._client, self._limit_s = client, limit_s
        self._free: list[_Region] = []

    @asynccontextmanager
    async def holding(self, pixels: NDArray[np.uint8], given: InferInput) -> AsyncIterator[None]:
        """Lay pixels into a region for as long as the context lasts, and have `given` name it.

        Raises:
            InferenceServerException: Triton cannot be told of a region, or not open it.
        """
        region = await self._region_of(pixels.nbytes)
        try:
            shared_memory.set_shared_memory_region(region.handle, [pixels])
            given.set_shared_memory(region.name, pixels.nbytes)
            yield
        except BaseException:
            _unlink(region)
            with contextlib.suppress(InferenceServerException):
                await self._client.unregister_system_shared_memory(
                    region.name, client_timeout=self._limit_s
                )
            raise
        self._free.append(region)

    def forget(self) -> None:
        """Triton may have been started anew, and know none of them."""
        while self._free:
            _unlink(self._free.pop())

    async def _region_of(self, size: int) -> _Region:
        for place, region in enumerate(self._free):
            if region.size >= size:
                return self._free.pop(place)
        name = f"cxrserve-{os.getpid()}-{next(_numbers)}"
        region = _Region(name, size, shared_memory.create_shared_memory_region(name, name, size))
        try:
            await self._client.register_system_shared_memory(
                name, f"/{name}", size, client_timeout=self._limit_s
            )
        except BaseException:
            _unlink(region)
            raise
        return region


def _unlink(region: _Region) -> None:
    shared_memory.destroy_shared_memory_region(region.handle)
