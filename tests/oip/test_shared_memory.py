"""Shared memory is off unless it is wanted, and its owner cannot hurt the service with it."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.errors import BadTensor, NotOffered
from cxrserve.oip.shared_memory import OFFSET, REGION, SIZE, Regions

_SHM = Path("/dev/shm")
_SIZE = 4096


@pytest.fixture
def memory() -> Iterator[Path]:
    """An object of `_SIZE` bytes, each its place modulo 256."""
    place = _SHM / f"cxrserve-test-{uuid.uuid4().hex}"
    place.write_bytes(bytes(range(256)) * (_SIZE // 256))
    yield place
    place.unlink(missing_ok=True)


@pytest.fixture
def regions() -> Iterator[Regions]:
    allowed = Regions(allowed=True, most_bytes=_SIZE)
    yield allowed
    allowed.unregister()


def at(name: str, offset: Any = 0, size: Any = _SIZE) -> dict[str, Any]:
    return {REGION: name, OFFSET: offset, SIZE: size}


def test_nothing_can_be_registered_unless_a_setting_allows_it(memory: Path) -> None:
    regions = Regions(allowed=False, most_bytes=_SIZE)
    with pytest.raises(NotOffered, match="switched off"):
        regions.register("r", memory.name, offset=0, byte_size=1)
    assert regions.status() == []
    with pytest.raises(BadTensor, match="Unable to find"):
        regions.read(at("r"))


@pytest.mark.parametrize("slash", ["", "/"])
def test_what_is_read_and_written_lies_where_it_was_registered(
    memory: Path, regions: Regions, slash: str
) -> None:
    regions.register("r", slash + memory.name, offset=16, byte_size=64)
    assert regions.read(at("r", 4, 8)) == bytes(range(20, 28))
    regions.write(at("r", 60, 4), b"abcd")
    assert memory.read_bytes()[74:81] == bytes([74, 75, *b"abcd", 80])
    (told,) = regions.status("r")
    assert told.as_dict() == {
        "name": "r", "key": slash + memory.name, "offset": 16, "byte_size": 64
    }  # fmt: skip


def test_what_was_read_does_not_change_with_the_memory(memory: Path, regions: Regions) -> None:
    regions.register("r", memory.name, offset=0, byte_size=_SIZE)
    before = regions.read(at("r"))
    memory.write_bytes(bytes(_SIZE))
    assert before[:4] == bytes(range(4))


@given(
    st.integers(-2, 2 * _SIZE) | st.integers(), st.integers(-2, 2 * _SIZE) | st.integers(),
    st.binary(max_size=100),
)  # fmt: skip
def test_no_offset_or_size_leaves_the_region(offset: int, size: int, data: bytes) -> None:
    place = _SHM / f"cxrserve-test-{uuid.uuid4().hex}"
    begin, length = 100, 1000
    place.write_bytes(b"." * begin + b"r" * length + b"." * 100)
    regions = Regions(allowed=True, most_bytes=_SIZE)
    try:
        regions.register("r", place.name, offset=begin, byte_size=length)
        fits = offset >= 0 and size >= 0 and offset + size <= length
        try:
            assert regions.read(at("r", offset, size)) == b"r" * size
            assert fits
        except BadTensor:
            assert not fits
        try:
            regions.write(at("r", offset, size), data)
        except BadTensor:
            assert not fits or len(data) > size
        left = place.read_bytes()
        assert len(left) == begin + length + 100
        assert left[:begin] + left[begin + length :] == b"." * (begin + 100)
    finally:
        regions.unregister()
        place.unlink()


@pytest.mark.parametrize(("offset", "size"), [
    (0, _SIZE + 1), (1, _SIZE), (_SIZE, 1), (2**64, 1), (1, 2**64), (-1, 1), (0, 0), (0, -5)
])  # fmt: skip
def test_an_object_smaller_than_the_region_is_refused(
    memory: Path, regions: Regions, offset: int, size: int
) -> None:
    with pytest.raises(BadTensor):
        regions.register("r", memory.name, offset=offset, byte_size=size)
    assert regions.status() == []


@pytest.mark.parametrize(
    "key",
    ["", "/", ".", "..", "/..", "../etc/passwd", "/etc/passwd", "a/b", "//x", "x\0y", "x\n",
     "nothing-there", "é", "a" * 200],
)  # fmt: skip
def test_a_key_is_the_name_of_an_object_and_no_path(regions: Regions, key: str) -> None:
    with pytest.raises(BadTensor):
        regions.register("r", key, offset=0, byte_size=1)


def test_links_pipes_and_sockets_are_not_opened(
    memory: Path, regions: Regions, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    link, pipe, door = (memory.with_name(f"{memory.name}-{kind}") for kind in "lps")
    link.symlink_to(secret)
    os.mkfifo(pipe)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(door))
    try:
        for place in (link, pipe, door):
            with pytest.raises(BadTensor):
                regions.register("r", place.name, offset=0, byte_size=1)
    finally:
        listening.close()
        for place in (link, pipe, door):
            place.unlink()


def test_an_object_cut_short_after_it_was_registered_is_an_error_not_the_end(
    memory: Path, regions: Regions
) -> None:
    regions.register("r", memory.name, offset=0, byte_size=_SIZE)
    os.truncate(memory, 10)
    assert regions.read(at("r", 0, 10)) == bytes(range(10))
    with pytest.raises(BadTensor, match="cut short"):
        regions.read(at("r"))
    with pytest.raises(BadTensor, match="cut short"):
        regions.write(at("r"), b"x" * _SIZE)
    assert memory.stat().st_size == 10


def test_an_input_takes_no_more_than_the_limit(memory: Path, regions: Regions) -> None:
    os.truncate(memory, 1 << 40)  # sparse: takes no memory
    regions.register("r", memory.name, offset=0, byte_size=1 << 40)
    with pytest.raises(BadTensor, match="at most"):
        regions.read(at("r", 0, 1 << 40))


def test_an_output_larger_than_its_place_is_refused(memory: Path, regions: Regions) -> None:
    regions.register("r", memory.name, offset=0, byte_size=_SIZE)
    with pytest.raises(BadTensor, match="at least 5 bytes"):
        regions.write(at("r", 0, 4), b"abcde")


@pytest.mark.parametrize("value", [True, -1, 1.0, "1"])
def test_a_size_is_a_whole_number(memory: Path, regions: Regions, value: Any) -> None:
    regions.register("r", memory.name, offset=0, byte_size=_SIZE)
    for parameters in (at("r", offset=value), at("r", size=value)):
        with pytest.raises(BadTensor, match="whole number"):
            regions.read(parameters)


def test_regions_are_counted_and_handles_are_given_back(memory: Path, regions: Regions) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(128):
        regions.register(str(number), memory.name, offset=0, byte_size=1)
    with pytest.raises(BadTensor, match="limit on regions"):
        regions.register("one more", memory.name, offset=0, byte_size=1)
    with pytest.raises(BadTensor, match="already"):
        regions.register("0", memory.name, offset=0, byte_size=1)
    regions.unregister("0")
    regions.unregister("0")
    with pytest.raises(BadTensor, match="Unable to find"):
        regions.status("0")
    regions.unregister()
    assert regions.status() == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_region_that_is_forgotten_while_it_is_read_gives_nothing_of_another(
    memory: Path, regions: Regions
) -> None:
    memory.write_bytes(b"a" * _SIZE)
    wrong: list[bytes] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                data = regions.read(at("a"))
            except BadTensor:
                continue
            if data != b"a" * _SIZE:
                wrong.append(data)

    other = memory.with_name(f"{memory.name}-b")
    other.write_bytes(b"b" * _SIZE)
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(2000):
            regions.register("a", memory.name, offset=0, byte_size=_SIZE)
            regions.unregister("a")
            regions.register("b", other.name, offset=0, byte_size=_SIZE)
            regions.unregister("b")
    finally:
        over.set()
        for reader in readers:
            reader.join()
        other.unlink()
    assert wrong == []
