"""DICOM is read in processes of their own: a codec that crashes, hangs or balloons on a hostile
file takes its process with it, and the service goes on.

The child gets one file at a time over a pipe and answers with JSON and raw pixels, never with
pickles; it may not write files, and its address space is bounded.
"""

from __future__ import annotations

import json
import math
import os
import queue
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO, Any, TypeVar

import numpy as np

from cxrserve import errors
from cxrserve.errors import CxrError, NotReady, UnreadableImage
from cxrserve.radiograph.film_values import FilmValues, values_from
from cxrserve.radiograph.limits import Limits
from cxrserve.radiograph.radiograph import (
    AgeBand,
    Facts,
    Identifiers,
    ImageFormat,
    Radiograph,
)

Read = TypeVar("Read", Radiograph, FilmValues)

LENGTHS = struct.Struct("<QQ")
_MOST_ANSWER_BYTES = 64 << 10


class _Gone(Exception):
    """The child process died, or did not answer in time."""


class DicomSandbox:
    """A pool of reading processes; call it like `read_dicom`, from any thread.

    Args:
        processes: how many files are read at once.
        timeout_s: how long one file may take before its process is killed.
        memory_bytes: address space of each process.
    """

    def __init__(
        self, *, processes: int = 2, timeout_s: float = 10.0, memory_bytes: int = 3 << 30
    ) -> None:
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(processes):
            self._idle.put(None)
        self._closed = False
        self._lock = threading.Lock()
        self._children: set[_Child] = set()

    def __call__(self, data: bytes, limits: Limits) -> Radiograph:
        """Read one DICOM file.

        Raises:
            CxrError: what `read_dicom` raises.
            UnreadableImage: `decoder_timeout` or `corrupt` where the process had to be given up.
            NotReady: the sandbox is closed.
        """
        return self._read({"limits": asdict(limits)}, data, limits, _radiograph_from)

    def values(self, data: bytes, limits: Limits, side: int) -> FilmValues:
        """Read one DICOM file for a person to window, see `read_dicom_values`; raises as above."""
        return self._read({"limits": asdict(limits), "side": side}, data, limits, values_from)

    def _read(
        self, asked: dict[str, Any], data: bytes, limits: Limits, made: Callable[..., Read]
    ) -> Read:
        child = self._idle.get()
        try:
            child = self._alive(child)
            give_up_at = time.monotonic() + self._timeout_s
            return child.read(asked, data, limits.decoded_bytes, made, give_up_at)
        except TimeoutError as error:
            self._give_up(child)
            child = None
            raise UnreadableImage(
                f"the DICOM file could not be decoded within {self._timeout_s:g} s",
                reason="decoder_timeout",
                advice="send it uncompressed, or smaller",
            ) from error
        except _Gone as error:
            self._give_up(child)
            child = None
            self._check_open()
            raise UnreadableImage(
                "the DICOM file made its decoder stop",
                reason="corrupt",
                advice="send the file again from where it is stored",
            ) from error
        except CxrError:
            raise
        except BaseException:
            # Interrupted in mid-answer: what is left in the pipe must not answer the next file.
            self._give_up(child)
            child = None
            raise
        finally:
            self._idle.put(child)

    def warm_up(self) -> None:
        """Start one process, so that the first file does not wait for it."""
        child = self._idle.get()
        try:
            child = self._alive(child)
        finally:
            self._idle.put(child)

    def close(self) -> None:
        """End all processes; whoever waits for one is answered with `NotReady`."""
        with self._lock:
            self._closed = True
            for child in self._children:
                child.kill()
        for _ in range(self._idle.qsize()):
            try:
                self._give_up(self._idle.get_nowait())
            except queue.Empty:
                return
            self._idle.put(None)

    def _alive(self, child: _Child | None) -> _Child:
        if child is not None and child.is_alive():
            return child
        self._give_up(child)
        with self._lock:
            self._check_open()
            started = _Child(self._memory_bytes, self._timeout_s)
            self._children.add(started)
        return started

    def _check_open(self) -> None:
        if self._closed:
            raise NotReady("DICOM files are no longer read: the service is stopping")

    def _give_up(self, child: _Child | None) -> None:
        if child is not None:
            child.kill()
            child.close()
            with self._lock:
                self._children.discard(child)


class _Child:
    def __init__(self, memory_bytes: int, timeout_s: float) -> None:
        settings = [str(memory_bytes), str(math.ceil(timeout_s) + 1)]
        command = [sys.executable, "-m", "cxrserve.radiograph.sandbox_child", *settings]
        # stderr is dropped: codecs print header values there, and headers name patients.
        with _deaf_to_sigterm():
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to_child: IO[bytes] = self._process.stdin
        self._from_child: IO[bytes] = self._process.stdout
        os.set_blocking(self._to_child.fileno(), False)
        os.set_blocking(self._from_child.fileno(), False)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def read(
        self,
        asked: dict[str, Any],
        data: bytes,
        most_bytes: int,
        made: Callable[..., Read],
        give_up_at: float,
    ) -> Read:
        header = json.dumps(asked).encode()
        self._send(LENGTHS.pack(len(header), len(data)), give_up_at)
        self._send(header, give_up_at)
        self._send(data, give_up_at)
        header_length, pixel_length = LENGTHS.unpack(self._receive(LENGTHS.size, give_up_at))
        if header_length > _MOST_ANSWER_BYTES or pixel_length > most_bytes:
            raise _Gone
        said = self._receive(header_length, give_up_at)
        pixels = self._receive(pixel_length, give_up_at)
        try:
            answer = json.loads(said)
            refused = _error_from(answer) if "error" in answer else None
            read = None if refused else made(answer, pixels)
        except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
            raise _Gone from error
        if refused is not None:
            raise refused
        assert read is not None
        return read

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        # Only by the thread that holds the child: another may be reading from these numbers.
        self._to_child.close()
        self._from_child.close()

    def _send(self, data: bytes, give_up_at: float) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._to_child, selectors.EVENT_WRITE, give_up_at)
            try:
                left = left[os.write(self._to_child.fileno(), left) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise _Gone from error

    def _receive(self, size: int, give_up_at: float) -> bytearray:
        received = bytearray(size)
        view, filled = memoryview(received), 0
        while filled < size:
            self._wait(self._from_child, selectors.EVENT_READ, give_up_at)
            count = os.readv(self._from_child.fileno(), [view[filled:]])
            if not count:  # the other end is closed
                raise _Gone
            filled += count
        return received

    @staticmethod
    def _wait(pipe: IO[bytes], event: int, give_up_at: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, event)
            if not selector.select(max(give_up_at - time.monotonic(), 0)):
                raise TimeoutError


@contextmanager
def _deaf_to_sigterm() -> Iterator[None]:
    """What is started inherits it: BentoML's supervisor tells its worker's children to end too,
    while films wait for them. We end them ourselves, when all are answered.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def answer_of(radiograph: Radiograph) -> dict[str, object]:
    """What the child says about a radiograph; the pixels follow as bytes."""
    return {
        "shape": radiograph.pixels.shape,
        "width": radiograph.width,
        "height": radiograph.height,
        "remarks": radiograph.remarks,
        "facts": asdict(radiograph.facts),
    }


def answer_of_error(error: CxrError) -> dict[str, object]:
    """What the child says when it refuses a file."""
    extra = {"reason": error.reason} if isinstance(error, UnreadableImage) else {}
    return {
        "error": type(error).__name__,
        "detail": error.detail,
        "advice": error.advice,
        "facts": {**error.facts, **extra},
    }


def _error_from(answer: dict[str, object]) -> CxrError:
    kind = getattr(errors, str(answer["error"]))
    facts = answer["facts"]
    assert isinstance(facts, dict)
    error = kind(str(answer["detail"]), advice=str(answer["advice"]), **facts)
    assert isinstance(error, CxrError)
    return error


def _radiograph_from(answer: dict[str, object], pixels: bytearray) -> Radiograph:
    shape, facts = answer["shape"], answer["facts"]
    assert isinstance(shape, list)
    assert isinstance(facts, dict)
    facts["identifiers"] = Identifiers(**facts["identifiers"])
    facts["age_band"] = AgeBand(facts["age_band"]) if facts["age_band"] else None
    facts["spacing_mm"] = tuple(facts["spacing_mm"]) if facts["spacing_mm"] else None
    array = np.frombuffer(pixels, np.uint8).reshape(shape)
    array.flags.writeable = False
    remarks, width, height = answer["remarks"], answer["width"], answer["height"]
    assert isinstance(remarks, list)
    assert isinstance(width, int)
    assert isinstance(height, int)
    return Radiograph(
        pixels=array,
        format=ImageFormat.DICOM,
        width=width,
        height=height,
        facts=Facts(**facts),
        remarks=tuple(remarks),
    )
