"""Regions of system shared memory that front-ends on this node put tensors in, and fetch them from.

Only POSIX objects directly in `/dev/shm` are opened, never created, and every use is held against
the bounds that were registered. What is read is copied at once: its owner may change it. Nothing
is mapped: an object that its owner cuts short would end the process that touches the page behind.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from cxrserve.errors import BadTensor, NotOffered
from cxrserve.oip.messages import Parameters, whole

_FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lies
_KEY = re.compile(r"/?[A-Za-z0-9_.-]{1,128}")
# Each holds a file descriptor, of which a process may have about a thousand.
_MOST_REGIONS = 128

REGION = "shared_memory_region"
SIZE = "shared_memory_byte_size"
OFFSET = "shared_memory_offset"


@dataclass(frozen=True, slots=True)
class Region:
    """One registered region, `offset` and `byte_size` within the object `key`."""

    name: str
    key: str
    offset: int
    byte_size: int
    handle: int

    def as_dict(self) -> dict[str, str | int]:
        """As the protocol tells of it."""
        return {
            "name": self.name,
            "key": self.key,
            "offset": self.offset,
            "byte_size": self.byte_size,
        }


class Regions:
    """The registered regions by name.

    Args:
        allowed: by a setting; else nothing can be registered.
        most_bytes: that one input may take from a region.
    """

    def __init__(self, *, allowed: bool, most_bytes: int) -> None:
        self.allowed, self._most_bytes = allowed, most_bytes
        self._regions: dict[str, Region] = {}
        # Large requests are read on threads; a handle must not be closed, and given to something
        # else, while one of them reads from it.
        self._lock = threading.Lock()

    def register(self, name: str, key: str, *, offset: int, byte_size: int) -> None:
        """Let requests use a region.

        Raises:
            NotOffered: the setting does not allow it.
            BadTensor: the name is taken, there is no such object, or it is too small.
        """
        if not self.allowed:
            raise NotOffered(
                "shared memory is switched off here", advice="set CXRSERVE_SHARED_MEMORY=on"
            )
        if name in self._regions:
            raise BadTensor(f"shared memory region '{name[:64]}' already in manager")
        if not name or len(self._regions) >= _MOST_REGIONS:
            raise BadTensor("a shared memory region needs a name, and there is a limit on regions")
        if offset < 0 or byte_size <= 0:
            raise BadTensor(f"shared memory region '{name[:64]}' has no size")
        handle = _opened(key, offset + byte_size)
        with self._lock:
            self._regions[name] = Region(name, key, offset, byte_size, handle)

    def status(self, name: str = "") -> list[Region]:
        """The region of this name, or all.

        Raises:
            BadTensor: there is none.
        """
        return [self._region(name)] if name else list(self._regions.values())

    def unregister(self, name: str = "") -> None:
        """Forget the region of this name, or all; one that is not there is forgotten already."""
        with self._lock:
            for gone in [name] if name else list(self._regions):
                region = self._regions.pop(gone, None)
                if region is not None:
                    os.close(region.handle)

    def read(self, parameters: Parameters) -> bytes:
        """What the parameters of an input point to.

        Raises:
            BadTensor: there is no such region, it is exceeded, or was cut short by its owner.
        """
        with self._lock:
            region, start, size = self._place(parameters)
            if size > self._most_bytes:
                raise BadTensor(f"an input may have at most {self._most_bytes} bytes")
            data = os.pread(region.handle, size, start)
        if len(data) < size:
            raise _cut_short(region)
        return data

    def write(self, parameters: Parameters, data: bytes) -> None:
        """Put an output where its parameters point to.

        Raises:
            BadTensor: there is no such region, it is too small, or was cut short by its owner.
        """
        with self._lock:
            region, start, size = self._place(parameters)
            if len(data) > size:
                raise BadTensor(
                    f"shared memory size specified with the request for output ({size} bytes) "
                    f"should be at least {len(data)} bytes to hold the results"
                )
            if os.fstat(region.handle).st_size < start + len(data):
                raise _cut_short(region)
            try:
                written = os.pwrite(region.handle, data, start)
            except OSError as error:  # the node's shared memory is full
                raise BadTensor(f"Unable to write shared memory: {error.strerror}") from None
        if written < len(data):
            raise _cut_short(region)

    def check(self, parameters: Parameters) -> None:
        """Raise `BadTensor` where `write` would find no such region, before anything is run."""
        with self._lock:
            self._place(parameters)

    def _place(self, parameters: Parameters) -> tuple[Region, int, int]:
        region = self._region(str(parameters[REGION]))
        offset, size = whole(parameters, OFFSET), whole(parameters, SIZE)
        if offset + size > region.byte_size:
            raise BadTensor(
                f"Invalid offset + byte size for shared memory region: '{region.name[:64]}'",
                advice=f"it has {region.byte_size} bytes",
            )
        return region, region.offset + offset, size

    def _region(self, name: str) -> Region:
        region = self._regions.get(name)
        if region is None:
            raise BadTensor(f"Unable to find shared memory region: '{name[:64]}'")
        return region


def _cut_short(region: Region) -> BadTensor:
    return BadTensor(f"shared memory object of region '{region.name[:64]}' was cut short")


def _opened(key: str, size: int) -> int:
    if not _KEY.fullmatch(key) or key.strip("/") in (".", ".."):
        raise BadTensor("Unable to open shared memory region: its key is no name of an object")
    path = _FOLDER / key.lstrip("/")
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadTensor(f"Unable to open shared memory region: {error.strerror}") from None
    found = os.fstat(handle)
    if stat.S_ISREG(found.st_mode) and found.st_size >= size:
        return handle
    os.close(handle)
    raise BadTensor(f"shared memory object is smaller than {size} bytes")
