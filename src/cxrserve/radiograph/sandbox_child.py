"""The process that reads DICOM files for `sandbox.py`, one after the other, over its pipes."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import IO

import numpy as np

from cxrserve.errors import CxrError
from cxrserve.radiograph.dicom import read_dicom
from cxrserve.radiograph.dicom_values import read_dicom_values
from cxrserve.radiograph.limits import Limits
from cxrserve.radiograph.sandbox import LENGTHS, answer_of, answer_of_error


def main() -> None:
    """Serve until stdin ends.

    `argv[1]` is the address space in bytes, `argv[2]` the seconds one file may take: the service
    ends us before, and where it died first, the alarm does, even inside a codec.
    """
    # The terminal's Ctrl-C is for the service, which then drains and closes our stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    memory_bytes, alarm_s = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # Codecs print to stdout too; the answers need a channel that is only theirs.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while _serve_one(sys.stdin.buffer, answers, alarm_s):
        pass


def _serve_one(requests: IO[bytes], answers: IO[bytes], alarm_s: int) -> bool:
    lengths = requests.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return False
    signal.alarm(alarm_s)
    header_length, data_length = LENGTHS.unpack(lengths)
    asked = json.loads(requests.read(header_length))
    limits = Limits(**asked["limits"])
    data = requests.read(data_length)
    pixels = memoryview(b"")
    try:
        if "side" in asked:
            film = read_dicom_values(data, limits, asked["side"])
            answer, pixels = film.described(), film.values.data
        else:
            radiograph = read_dicom(data, limits)
            answer = answer_of(radiograph)
            pixels = np.ascontiguousarray(radiograph.pixels).data
    except CxrError as error:
        answer = answer_of_error(error)
    header = json.dumps(answer).encode()
    answers.write(LENGTHS.pack(len(header), pixels.nbytes))
    answers.write(header)
    answers.write(pixels)
    answers.flush()
    signal.alarm(0)
    return True


if __name__ == "__main__":
    main()
