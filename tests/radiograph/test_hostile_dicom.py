"""Files that were damaged on the way, and files made to do damage."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid

from cxrserve.errors import CxrError, UnreadableImage, UnsupportedUpload, UploadTooLarge
from cxrserve.radiograph.limits import Limits
from cxrserve.radiograph.reader import read_radiograph
from cxrserve.radiograph.sandbox import DicomSandbox
from tests.radiograph.dicom_files import dicom, encoded, ramp, read, transcoded
from tests.radiograph.test_transfer_syntaxes import with_frame

GOOD = encoded(dicom(ramp()))
_CODED = {
    syntax.name: encoded(transcoded(dicom(ramp(rows=32, columns=32)), syntax, plugin))
    for syntax, plugin in (
        (uid.RLELossless, "pylibjpeg"),
        (uid.JPEGLSLossless, "pyjpegls"),
        (uid.JPEG2000Lossless, "pylibjpeg"),
    )
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[DicomSandbox]:
    made = DicomSandbox(processes=2, timeout_s=3)
    yield made
    made.close()


def within(sandbox: DicomSandbox, data: bytes) -> object:
    return read_radiograph(data, dicom_reader=sandbox)


@pytest.mark.parametrize("percent", range(10, 100, 10))
def test_a_file_cut_off_anywhere_is_said_to_be(percent: int) -> None:
    with pytest.raises(UnreadableImage) as error:
        read(GOOD[: len(GOOD) * percent // 100])
    assert error.value.reason in {"truncated", "corrupt", "no_pixels"}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(sorted(_CODED)),
    flips=st.lists(st.tuples(st.integers(132, 10**6), st.integers(0, 255)), max_size=6),
)
def test_flipped_bytes_give_an_image_or_a_clear_error_quickly(
    sandbox: DicomSandbox, name: str, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(_CODED[name])
    for place, value in flips:
        data[132 + place % (len(data) - 132)] = value
    started = time.perf_counter()
    with contextlib.suppress(CxrError):
        within(sandbox, bytes(data))
    assert time.perf_counter() - started < 4


@pytest.mark.parametrize("beyond", [2, 40])
def test_a_deflate_bomb_is_stopped_at_the_limit(beyond: int) -> None:
    limits = Limits(decoded_bytes=4 << 20)
    meta = GOOD[: GOOD.index(b"\x08\x00\x16\x00")]
    meta = meta.replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99")
    length = int.from_bytes(meta[140:144], "little") + 2
    meta = meta[:140] + length.to_bytes(4, "little") + meta[144:]
    at = meta.index(b"1.2.840.10008.1.2.1.99") - 2
    meta = meta[:at] + (22).to_bytes(2, "little") + meta[at + 2 :]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflater.compress(bytes(beyond * (4 << 20))) + deflater.flush()
    with pytest.raises(UploadTooLarge, match="decoding would take"):
        read(meta + bomb, limits)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"NumberOfFrames": 2}, "multi_frame"),
        ({"Rows": 0}, "corrupt"),
        ({"BitsStored": 0, "BitsAllocated": 0}, "corrupt"),
    ],
)
def test_what_cannot_be_one_image_is_named(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableImage) as error:
        read(dicom(ramp(), **change))
    assert error.value.reason == reason


def test_one_frame_declared_as_such_is_read() -> None:
    assert read(dicom(ramp(), NumberOfFrames=1)).sha256 == read(GOOD).sha256


@pytest.mark.parametrize("change", [{"BitsAllocated": 32, "BitsStored": 32}, {"BitsStored": 17}])
def test_depths_that_are_not_read_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedUpload, match="bits"):
        read(dicom(ramp(), **change))


def test_a_huge_declared_size_costs_nothing() -> None:
    with pytest.raises(UploadTooLarge, match="65535 x 65535"):
        read(dicom(ramp(), Rows=65535, Columns=65535))


def test_a_codestream_of_another_size_than_the_header_is_not_decoded() -> None:
    dataset = dicom(ramp(rows=64, columns=64))
    frame = transcoded(dicom(ramp()), uid.JPEG2000Lossless, "pylibjpeg")
    other = next(pydicom.encaps.generate_frames(frame.PixelData, number_of_frames=1))
    with pytest.raises(UnreadableImage, match="64 x 64"):
        read(with_frame(dataset, other, uid.JPEG2000Lossless))


@pytest.mark.parametrize("frame", [b"\x00\x01", b"\xff\xd8\xff\xd9", b"garbage" * 99])
def test_a_frame_of_garbage_is_corrupt(frame: bytes) -> None:
    for syntax in (uid.JPEGBaseline8Bit, uid.JPEG2000, uid.JPEGLSLossless, uid.RLELossless):
        with pytest.raises(UnreadableImage):
            read(with_frame(dicom(ramp(8), bits=8), frame, syntax))


def test_an_unknown_transfer_syntax_is_named() -> None:
    data = with_frame(dicom(ramp()), b"\x00\x00\x01\xb3", "1.2.840.10008.1.2.4.100")
    with pytest.raises(UnsupportedUpload, match=r"1\.2\.840\.10008\.1\.2\.4\.100"):
        read(data)


def test_a_report_has_no_pixels() -> None:
    report = dicom(ramp(), Modality="SR")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report, keyword)
    with pytest.raises(UnreadableImage) as error:
        read(report)
    assert error.value.reason == "no_pixels"


def test_endless_nesting_and_countless_elements_are_refused() -> None:
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff"
    start = GOOD.index(b"\x08\x00\x18\x00")
    nested = GOOD[:start] + (sequence + item) * 20_000
    element = b"\x09\x00\x10\x10LO\x00\x00"
    countless = GOOD[:start] + element * 1_000_000
    for data in (nested, countless):
        started = time.perf_counter()
        with pytest.raises(CxrError):
            read(data)
        assert time.perf_counter() - started < 2


def test_a_file_without_preamble_or_meta_header_is_read() -> None:
    bare = io.BytesIO()
    dataset = dicom(ramp())
    pydicom.dcmwrite(
        bare, pydicom.Dataset(dataset), implicit_vr=True, little_endian=True, force_encoding=True
    )
    assert read(bare.getvalue()).sha256 == read(GOOD).sha256
    assert read(GOOD[132:]).sha256 == read(GOOD).sha256


@pytest.mark.parametrize("magic", [b"MZ", b"\x7fELF", b"PK\x03\x04", b"%PDF", b"\xff\xd8\xff"])
def test_a_preamble_that_is_another_file_is_refused(magic: bytes) -> None:
    with pytest.raises(UnsupportedUpload, match="preamble"):
        read(magic + GOOD[len(magic) :])


def test_a_tiff_preamble_is_allowed() -> None:
    assert read(b"II*\x00" + GOOD[4:]).sha256 == read(GOOD).sha256


def test_the_sandbox_reads_what_is_read_here(sandbox: DicomSandbox) -> None:
    here, there = read(GOOD), within(sandbox, GOOD)
    assert repr(here.facts) == repr(there.facts)  # type: ignore[attr-defined]
    assert here.sha256 == there.sha256  # type: ignore[attr-defined]
    with pytest.raises(UnreadableImage) as error:
        within(sandbox, GOOD[:-100])
    assert error.value.reason == "truncated"


def test_a_decoder_that_dies_or_hangs_takes_no_one_with_it() -> None:
    others = {child.pid for child in _children()}
    sandbox = DicomSandbox(processes=1, timeout_s=1)
    try:
        for fate, reason in ((signal.SIGKILL, "corrupt"), (signal.SIGSTOP, "decoder_timeout")):
            sandbox.warm_up()
            within(sandbox, GOOD)
            (child,) = (child for child in _children() if child.pid not in others)
            # Stopped while idle, so that it is seen to be stopped while it should answer.
            os.kill(child.pid, signal.SIGSTOP)
            if fate == signal.SIGKILL:
                threading.Timer(0.3, child.kill).start()
            with pytest.raises(UnreadableImage) as error:
                within(sandbox, GOOD)
            assert error.value.reason == reason
            assert within(sandbox, GOOD) is not None
    finally:
        sandbox.close()
    assert {child.pid for child in _children()} == others


def _children() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [one for one in children if "sandbox_child" in " ".join(one.cmdline())]


def test_many_threads_each_get_their_own_image(sandbox: DicomSandbox) -> None:
    files = [encoded(dicom(np.roll(ramp(), 7 * number, axis=1))) for number in range(8)]
    digests = [read(data).sha256 for data in files]
    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(lambda number: within(sandbox, files[number % 8]), range(64)))
    assert [one.sha256 for one in seen] == digests * 8  # type: ignore[attr-defined]


def test_reading_processes_end_with_their_parent() -> None:
    script = (
        "from cxrserve.radiograph.sandbox import DicomSandbox; import os, psutil\n"
        "sandbox = DicomSandbox(processes=1); sandbox.warm_up()\n"
        "print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), 9)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).stdout
    pid = int(out)
    give_up_at = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
