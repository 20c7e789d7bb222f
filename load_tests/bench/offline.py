"""The offline limit: decode, prepare and infer in a bare loop, with no server around it.

Runs in the serving environment, pinned like a server, and prints one JSON object. What it runs is
what the service runs: our reader, our fitting, ONNX Runtime; its gate, its checks and its answers
are left out, as the peers have none. With `--gate` every image is also inspected by the gate: the
limit of a service that does so.
"""

from __future__ import annotations

import argparse
import itertools
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxrserve.findings.interpret import probabilities
from cxrserve.models.manifest import Manifest
from cxrserve.models.package import read_package
from cxrserve.models.preprocess import fit
from cxrserve.radiograph.gate import QualityGate
from cxrserve.radiograph.gate_network import load_gate_network
from cxrserve.radiograph.limits import Limits
from cxrserve.radiograph.reader import read_radiograph

_WARM_UP_IMAGES = 8


class Loop:
    """Reads images with one network.

    Args:
        graph: bytes of the ONNX file.
        manifest: how an image is fitted.
        threads: threads of ONNX Runtime within one image.
        gate: inspects every image; None: nothing does.
    """

    def __init__(
        self, graph: bytes, manifest: Manifest, *, threads: int, gate: QualityGate | None = None
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._input, self._gate = manifest.input, gate
        self._scaled = Limits(jpeg_side=max(Limits().jpeg_side, manifest.input.side))
        self._whole = Limits(jpeg_side=1 << 16)

    def logits(self, image: bytes, *, whole: bool = False) -> NDArray[np.float32]:
        """Logits float32 `[K]` of one file.

        Args:
            image: a file.
            whole: decode a JPEG at its full size, as the peers do; else as the service does.
        """
        radiograph = read_radiograph(image, limits=self._whole if whole else self._scaled)
        if self._gate is not None:
            self._gate.inspect(radiograph)
        pixels = fit(radiograph.pixels, self._input)[None, None]
        (logits,) = self._session.run(["logits"], {"pixels": pixels})
        return np.asarray(logits[0], np.float32)

    def rate(self, images: Sequence[bytes], *, seconds: float, loops: int) -> float:
        """Images a second that `loops` threads get through, each on its own."""
        for image in itertools.islice(itertools.cycle(images), _WARM_UP_IMAGES):
            self.logits(image)
        counts = [0] * loops
        start = time.perf_counter()

        def run(number: int) -> None:
            for image in itertools.cycle(images):
                self.logits(image)
                if time.perf_counter() - start > seconds:
                    return
                counts[number] += 1

        threads = [threading.Thread(target=run, args=(number,)) for number in range(loops)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / seconds


def main() -> None:
    """Measure, and print the rates and the probabilities of each image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--seconds", type=float, required=True, help="0: probabilities only")
    parser.add_argument("--cores", type=int, required=True, help="cores it may use")
    parser.add_argument("--gate", action="store_true", help="inspect every image as well")
    asked = parser.parse_args()
    package = read_package(asked.models_dir / asked.model)
    manifest, graph = package.manifest, package.graph_bytes(package.manifest.graphs[0])
    images = [file.read_bytes() for file in sorted(asked.images.iterdir())]
    gate = QualityGate(load_gate_network(asked.models_dir / "gate")) if asked.gate else None
    single = Loop(graph, manifest, threads=1, gate=gate)
    rates: dict[str, float] = {}
    if asked.seconds > 0:
        rates["a loop a core"] = single.rate(images, seconds=asked.seconds, loops=asked.cores)
        if asked.cores > 1:
            # The other way to use several cores; the limit is the better of the two.
            wide = Loop(graph, manifest, threads=asked.cores, gate=gate)
            rates["one loop on all cores"] = wide.rate(images, seconds=asked.seconds, loops=1)
    seen = {
        name: [
            probabilities(
                single.logits(image, whole=whole), manifest.activation, manifest.calibration
            ).tolist()
            for image in images
        ]
        for name, whole in (("scaled", False), ("whole", True))
    }
    print(json.dumps({"rates": rates, "probabilities": seen}))


if __name__ == "__main__":
    main()
