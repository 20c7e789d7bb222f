"""The gate on what no part of its training drew: `python -m cxrserve.training.gate_stress --help`.

Brains, heads, pages, objects and landscapes come from Debian packages that are unpacked and not
installed (docs/quality-gate.md lists them); chest films are framed and spoilt as users spoil them.
"""

from __future__ import annotations

import gzip
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage  # type: ignore[import-untyped]

from cxrserve.radiograph.gate import QualityGate
from cxrserve.radiograph.gate_network import load_gate_network
from cxrserve.training.datasets import read_manifest
from cxrserve.training.gate_corpus import TASKS
from cxrserve.training.gate_images import Grey, Randomness
from cxrserve.training.gate_measure import Figure, judged_pixels, table

_SEED = 3
_FILMS_A_TASK = 90
_REFUSED = "not_a_chest|not_a_radiograph|blank"

Volume = NDArray[np.float32]


def stress(
    data: Annotated[Path, typer.Option(envvar="CXRSERVE_DATA_DIR", help="has manifest.csv")],
    unpacked: Annotated[Path, typer.Option(help="usr/share of the unpacked Debian packages")],
    package: Annotated[Path, typer.Option(help="the package to measure")] = Path("models/gate"),
) -> None:
    """Print a table; nothing is written."""
    gate = QualityGate(load_gate_network(package))
    figures = [*_no_chests(gate, unpacked), *_spoilt_films(gate, data)]
    typer.echo(table(figures))


def _no_chests(gate: QualityGate, unpacked: Path) -> Iterator[Figure]:
    rng = np.random.default_rng(_SEED)
    doc = unpacked / "doc"
    head = _head(doc / "invesalius-examples/examples/Cranium.inv3")
    families: dict[str, list[Grey]] = {
        "skulls projected from CT": _projections(head, rng),
        "CT slices of a head": _ct_slices(head, rng),
        "MR slices of brains": _mr_slices(unpacked / "mricron/templates", rng),
        "pages of PDF manuals": _pages([*doc.rglob("*.pdf")], rng),
        "objects on a plain ground": _objects(unpacked / "tuxpaint/stamps", rng),
        "landscapes, grey": _landscapes(unpacked / "backgrounds/mate", rng),
    }
    families["pages, light on dark"] = [255 - page for page in families["pages of PDF manuals"]]
    for name, pixels in families.items():
        yield judged_pixels(gate, name, pixels, _REFUSED)


def _head(archive: Path) -> Volume:
    """Hounsfield units `[108, 256, 256]` of InVesalius's example, head first."""
    with tarfile.open(archive) as tar:
        (matrix,) = (one for one in tar if one.name.endswith("matrix.dat"))
        content = tar.extractfile(matrix)
        assert content is not None
        values = np.frombuffer(content.read(), np.int16)
    return values[: 108 * 256 * 256].reshape(108, 256, 256).astype(np.float32)


def _projections(head: Volume, rng: Randomness) -> list[Grey]:
    absorption = np.where(head > 150, 1 + (head - 150) / 455, np.clip(1 + head / 1000, 0, None))
    absorption[head < -700] = 0
    # Slices are 1.5 mm apart, pixels 0.957 mm.
    absorption = ndimage.zoom(absorption, (1.5 / 0.957, 1, 1), order=1)[::-1]
    shown = []
    for _ in range(60):
        turned = ndimage.rotate(absorption, rng.uniform(0, 360), (1, 2), reshape=False, order=1)
        turned = ndimage.rotate(turned, rng.normal(0, 8), (0, 1), reshape=False, order=1)
        film = 1 - np.exp(-turned.sum(axis=1) / rng.uniform(60, 120))
        shown.append(_stretched(film, 0, rng.uniform(97, 99.9)))
    return shown


def _ct_slices(head: Volume, rng: Randomness) -> list[Grey]:
    windows = ((-160, 240), (-500, 1300), (-1000, 1000))
    shown = []
    for number in range(42):
        low, high = windows[number % 3]
        axis = number // 3 % 3
        slab = np.take(head, int(head.shape[axis] * rng.uniform(0.25, 0.75)), axis)
        if axis:
            slab = ndimage.zoom(slab, (1.5 / 0.957, 1), order=1)[::-1]
        shown.append((np.clip((slab - low) / (high - low), 0, 1) * 255).astype(np.uint8))
    return shown


def _mr_slices(templates: Path, rng: Randomness) -> list[Grey]:
    shown = []
    for name in ("ch2", "ch2better", "inia19-t1-brain"):
        brain = _nifti(templates / f"{name}.nii.gz")
        for number in range(20):
            axis = number % 3
            place = int(brain.shape[axis] * rng.uniform(0.3, 0.7))
            shown.append(_stretched(np.take(brain, place, axis)[::-1], 1, 99))
    return shown


def _nifti(path: Path) -> Volume:
    """A NIfTI-1 volume (nifti.nimh.nih.gov: `nifti1.h`), last axis first."""
    content = gzip.decompress(path.read_bytes())
    _, x, y, z = struct.unpack_from("<4h", content, 40)
    kind = {2: np.uint8, 4: np.int16, 16: np.float32}[struct.unpack_from("<h", content, 70)[0]]
    start = int(struct.unpack_from("<f", content, 108)[0])
    return np.frombuffer(content, kind, x * y * z, start).reshape(z, y, x).astype(np.float32)


def _pages(files: list[Path], rng: Randomness) -> list[Grey]:
    shown = []
    for file in sorted(files):
        for page in rng.integers(1, 60, 12):
            ran = subprocess.run(  # noqa: S603
                ["pdftoppm", "-gray", "-r", "40", "-f", str(page), "-l", str(page), str(file)],  # noqa: S607
                capture_output=True,
                check=False,
            )
            if ran.stdout:
                shown.append(_netpbm(ran.stdout))
    return shown


def _netpbm(content: bytes) -> Grey:
    _, size, _, pixels = content.split(b"\n", 3)
    width, height = map(int, size.split())
    return np.frombuffer(pixels, np.uint8, width * height).reshape(height, width)


def _objects(folder: Path, rng: Randomness) -> list[Grey]:
    files = sorted(folder.rglob("*.png"))
    shown = []
    for place in rng.permutation(len(files))[:500]:
        picture = Image.open(files[place]).convert("RGBA")
        picture.thumbnail((384, 384))
        side = max(picture.size)
        ground = Image.new("RGBA", (side, side), (int(rng.choice([0, 0, 30, 128, 255])),) * 3)
        ground.putalpha(255)
        free = side - picture.width, side - picture.height
        ground.alpha_composite(picture, (free[0] // 2, free[1] // 2))
        shown.append(np.asarray(ground.convert("L")))
    return shown


def _landscapes(folder: Path, rng: Randomness) -> list[Grey]:
    shown = []
    for file in sorted(one for one in folder.rglob("*") if one.suffix in (".jpg", ".png")):
        picture = Image.open(file).convert("L")
        for _ in range(5):
            side = int(min(picture.size) * rng.uniform(0.4, 1))
            left, top = (int(rng.integers(free - side + 1)) for free in picture.size)
            cut = picture.crop((left, top, left + side, top + side))
            shown.append(np.asarray(cut.resize((384, 384))))
    return shown


def _spoilt_films(gate: QualityGate, data: Path) -> Iterator[Figure]:
    rng = np.random.default_rng(_SEED)
    films = []
    for task in TASKS:
        test = [film for film in read_manifest(data, task=task) if film.split == "test"]
        some = rng.permutation(len(test))[:_FILMS_A_TASK]
        films += [np.asarray(Image.open(data / test[place].file).convert("L")) for place in some]

    def noisy(film: Grey) -> Grey:
        return np.clip(film + rng.normal(0, 20, film.shape), 0, 255).astype(np.uint8)

    ways: dict[str, Callable[[Grey], Grey]] = {
        "tilted by 15°": lambda film: _tilted(film, 15),
        "tilted by 20°": lambda film: _tilted(film, 20),
        "on a 16:9 screen, black": lambda film: _bordered(film, 0),
        "on a 16:9 screen, white": lambda film: _bordered(film, 255),
        "black borders all round, 20 %": lambda film: np.pad(film, len(film) // 5),
        "a third of the contrast": lambda film: (film * 0.33 + 85).astype(np.uint8),
        "gamma 0.4": lambda film: (255 * (film / 255) ** 0.4).astype(np.uint8),
        "gamma 2.5": lambda film: (255 * (film / 255) ** 2.5).astype(np.uint8),
        "noise of 20 grey levels": noisy,
        "blurred by 1/150 of the side": lambda film: _blurred(film, len(film) / 150),
        "mirrored": lambda film: film[:, ::-1],
    }
    for name, spoil in ways.items():
        yield judged_pixels(gate, f"test films, {name}", [spoil(film) for film in films], None)
    halves = [film[:, : film.shape[1] // 2] for film in films]
    yield judged_pixels(gate, "one half of a film", halves, "not_a_chest")
    lower = [film[int(0.66 * len(film)) :] for film in films]
    yield judged_pixels(gate, "the lower third of a film", lower, "not_a_chest")


def _tilted(film: Grey, degrees: float) -> Grey:
    return np.asarray(Image.fromarray(film).rotate(degrees, Image.Resampling.BILINEAR))


def _blurred(film: Grey, radius: float) -> Grey:
    return np.asarray(Image.fromarray(film).filter(ImageFilter.GaussianBlur(radius)))


def _bordered(film: Grey, grey: int) -> Grey:
    height, width = film.shape
    free = max(0, int(16 / 9 * height) - width) // 2
    return np.pad(film, ((0, 0), (free, free)), constant_values=grey)


def _stretched(values: NDArray[np.floating], low: float, high: float) -> Grey:
    darkest, brightest = np.percentile(values, (low, high))
    scaled = (values - darkest) / max(float(brightest - darkest), 1e-6)
    grey: Grey = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return grey


if __name__ == "__main__":
    typer.run(stress)
