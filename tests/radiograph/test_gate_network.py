"""The packaged network: what it sees in drawn images, and which packages it is not taken from."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from cxrserve.errors import BrokenPackage
from cxrserve.radiograph.gate import QualityGate
from cxrserve.radiograph.gate_network import GateNetwork, load_gate_network, thumbnail
from cxrserve.radiograph.phantom import draw_phantom
from cxrserve.radiograph.radiograph import Facts, ImageFormat, Radiograph

_PACKAGE = Path(__file__).resolve().parents[2] / "models" / "gate"

Grey = NDArray[np.uint8]


@pytest.fixture(scope="module")
def network() -> GateNetwork:
    return load_gate_network(_PACKAGE)


@pytest.fixture(scope="module")
def gate(network: GateNetwork) -> QualityGate:
    return QualityGate(network)


def _codes(gate: QualityGate, pixels: Grey, *, phantom: bool = False) -> list[str]:
    height, width = pixels.shape
    radiograph = Radiograph(
        pixels=np.ascontiguousarray(pixels),
        format=ImageFormat.PNG,
        width=width,
        height=height,
        facts=Facts(phantom=phantom),
    )
    return [remark.code for remark in gate.inspect(radiograph)]


@pytest.mark.parametrize("seed", range(0, 500, 25))
def test_a_phantom_is_answered_with_a_warning_whether_it_says_so_or_not(
    gate: QualityGate, seed: int
) -> None:
    drawn = draw_phantom(side=512, seed=seed)
    assert _codes(gate, drawn, phantom=True) == ["phantom"]
    assert _codes(gate, drawn) == ["phantom"]


@pytest.mark.parametrize(
    ("quarters", "advice"),
    [(-1, "turn it counter-clockwise"), (2, "turn it by 180°"), (1, "turn it clockwise")],
)
def test_a_turned_chest_is_refused_with_the_way_to_turn_it_back(
    gate: QualityGate, quarters: int, advice: str
) -> None:
    turned = np.ascontiguousarray(np.rot90(draw_phantom(side=512, seed=900), quarters))
    radiograph = Radiograph(pixels=turned, format=ImageFormat.PNG, width=512, height=512)
    remark = gate.inspect(radiograph)[0]
    assert (remark.code, remark.refuses) == ("rotated", True)
    assert advice in remark.detail
    assert "force=true" in remark.detail


def test_an_inverted_and_turned_chest_carries_both_remarks(gate: QualityGate) -> None:
    turned = np.rot90(255 - draw_phantom(side=512, seed=901))
    codes = _codes(gate, np.ascontiguousarray(turned))
    assert {"rotated", "inverted"} <= set(codes)


def _not_chests() -> dict[str, Grey]:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:400, 0:400]
    rings = np.uint8(255) * (np.hypot(x - 200, y - 200) // 20 % 2).astype(np.uint8)
    letter = np.full((500, 400), 250, np.uint8)
    for line in range(40, 460, 14):
        letter[line : line + 6, 40 : 40 + int(rng.integers(120, 320))] = rng.integers(0, 80)
    hand = np.zeros((400, 300), np.uint8)
    for finger in range(5):
        hand[60 + 12 * abs(finger - 2) : 330, 45 + 44 * finger : 75 + 44 * finger] = 90
        hand[70 + 12 * abs(finger - 2) : 325, 54 + 44 * finger : 66 + 44 * finger] = 210
    return {
        "white noise": rng.integers(0, 256, (400, 400), dtype=np.uint8),
        "salt and pepper": np.where(rng.random((400, 400)) < 0.5, 0, 255).astype(np.uint8),
        "ramp": np.tile(np.linspace(0, 255, 400).astype(np.uint8), (400, 1)),
        "checkerboard": ((x // 50 + y // 50) % 2 * 255).astype(np.uint8),
        "rings": rings,
        "letter": letter,
        "hand": hand,
    }


@pytest.mark.parametrize(("name", "pixels"), _not_chests().items(), ids=_not_chests())
def test_what_is_no_chest_is_refused(gate: QualityGate, name: str, pixels: Grey) -> None:
    codes = _codes(gate, pixels)
    assert {"not_a_radiograph", "not_a_chest"} & set(codes), f"{name}: {codes}"


def test_what_is_no_chest_is_not_said_to_be_turned(gate: QualityGate) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (300, 300), dtype=np.uint8)
    assert not {"rotated", "inverted", "photo_of_film"} & set(_codes(gate, noise))


def test_many_threads_see_what_one_sees(network: GateNetwork) -> None:
    images = [thumbnail(draw_phantom(side=256, seed=seed), network.side) for seed in range(8)]
    images += [255 - image for image in images]
    alone = [network(image) for image in images]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(network, images * 10))
    assert together == alone * 10


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (2400, 2000), (40, 60), (112, 112)])
def test_a_thumbnail_keeps_the_whole_image_on_black(shape: tuple[int, int]) -> None:
    small = thumbnail(np.full(shape, 200, np.uint8), 112)
    assert small.shape == (112, 112)
    assert small.dtype == np.uint8
    filled = (small > 100).sum(axis=(0, 1)) / small.size
    assert filled == pytest.approx(min(shape) / max(shape), abs=0.03)


def test_an_altered_graph_is_not_loaded(tmp_path: Path) -> None:
    package = _copied(tmp_path)
    graph = package / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    with pytest.raises(BrokenPackage):
        load_gate_network(package)


def test_a_package_without_its_graph_is_not_loaded(tmp_path: Path) -> None:
    package = _copied(tmp_path)
    (package / "model.onnx").unlink()
    with pytest.raises(BrokenPackage):
        load_gate_network(package)


@pytest.mark.parametrize(
    "change", [{"task": "multi-label"}, {"activation": "softmax"}, {"labels": []}, {"colour": 1}]
)
def test_a_package_that_is_no_gate_is_not_loaded(tmp_path: Path, change: dict[str, object]) -> None:
    package = _copied(tmp_path)
    manifest = package / "model.yaml"
    manifest.write_text(yaml.safe_dump(yaml.safe_load(manifest.read_text("utf-8")) | change))
    with pytest.raises(BrokenPackage):
        load_gate_network(package)


def _copied(folder: Path) -> Path:
    return Path(shutil.copytree(_PACKAGE, folder / "gate"))
