"""Train and measure the quality gate's network: `python -m cxrserve.training.gate --help`.

A MobileNetV2 (width 0.35, ImageNet start) reads a 112-pixel thumbnail and gives independent
probabilities for each thing that may be wrong with it. What a thumbnail that is no chest would
say about being turned or inverted means nothing, so those outputs are not trained on it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from cxrserve.radiograph.gate_network import thumbnail
from cxrserve.training import gate_images as images
from cxrserve.training.gate_bones import limb
from cxrserve.training.gate_corpus import Corpus, read_corpus
from cxrserve.training.gate_images import Grey, Randomness
from cxrserve.training.gate_package import LABELS, write_gate_package
from cxrserve.training.networks.keras_weights import load_keras_backbone
from cxrserve.training.networks.mobilenetv2 import MobileNetV2

SIDE = 112
SEED = 20261121
WEIGHTS = "weights/mobilenetv2_035_imagenet_teachable_machine.h5"
_EPOCHS = 9
_DRAWS = 9000
_BATCH = 64
_RATE = 1.5e-3
# On the validation films each refusing output may be wrong on at most this share, and each
# warning output on five times as many.
_MOST_REFUSED = 0.0015

app = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class _Example:
    """A thumbnail uint8 `[SIDE, SIDE]`, its targets `[K]`, and which of them count `[K]`."""

    pixels: Grey
    targets: NDArray[np.float32]
    counts: NDArray[np.float32]


@app.command()
def train(
    data: Annotated[Path, typer.Option(envvar="CXRSERVE_DATA_DIR", help="has manifest.csv")],
    photographs: Annotated[list[Path], typer.Option(help="folders of photographs, no radiographs")],
    package: Annotated[Path, typer.Option(help="folder to write")] = Path("models/gate"),
    epochs: Annotated[int, typer.Option(min=1)] = _EPOCHS,
    draws: Annotated[int, typer.Option(min=100, help="images an epoch")] = _DRAWS,
) -> None:
    """Train the network, choose its thresholds on the validation films, write the package."""
    corpus = read_corpus(data, photographs)
    torch.manual_seed(SEED)
    network = MobileNetV2(labels=len(LABELS), dropout=0.1)
    load_keras_backbone(network, data / WEIGHTS)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-3)
    steps = epochs * (draws // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps)
    for epoch in range(epochs):
        started = time.monotonic()
        examples = _drawn(corpus, draws, epoch)
        loss = _one_epoch(network, optimiser, schedule, examples)
        typer.echo(f"epoch {epoch + 1}: loss {loss:.4f}, {time.monotonic() - started:.0f} s")
    _shift_biases(network, corpus)
    write_gate_package(
        network,
        package,
        side=SIDE,
        data_manifest_sha256=hashlib.sha256((data / "manifest.csv").read_bytes()).hexdigest(),
        seed=SEED,
    )
    typer.echo(f"wrote {package}")


@app.command()
def measure(
    data: Annotated[Path, typer.Option(envvar="CXRSERVE_DATA_DIR", help="has manifest.csv")],
    photographs: Annotated[list[Path], typer.Option(help="folders of photographs, no radiographs")],
    package: Annotated[Path, typer.Option(help="the package to measure")] = Path("models/gate"),
) -> None:
    """Measure the whole gate on films and on what is none; writes the package's figures."""
    from cxrserve.training.gate_measure import measure_gate  # noqa: PLC0415 - needs no torch

    typer.echo(measure_gate(read_corpus(data, photographs), data, package))


def _drawn(corpus: Corpus, draws: int, epoch: int) -> list[_Example]:
    seeds = np.random.SeedSequence([SEED, epoch]).spawn(draws)
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda seed: _draw(corpus, np.random.default_rng(seed)), seeds))


def _draw(corpus: Corpus, rng: Randomness) -> _Example:
    if rng.random() < 0.36:
        return _no_chest(corpus, rng)
    if rng.random() < 0.08:
        return _chest(images.phantom(rng), rng, phantom=True)
    return _chest(corpus.random_film("train", rng), rng, phantom=False)


def _chest(film: Grey, rng: Randomness, *, phantom: bool) -> _Example:
    said = {"phantom"} if phantom else set()
    film = images.exposed(film, rng)
    if rng.random() < 0.5:
        film = np.ascontiguousarray(film[:, ::-1])
    quarter = int(rng.integers(1, 4)) if rng.random() < 0.4 else 0
    if quarter:
        # np.rot90 turns counter-clockwise.
        film = np.ascontiguousarray(np.rot90(film, -quarter))
        said.add(f"rotated_{90 * quarter}")
    if rng.random() < 0.22:
        film = 255 - film
        said.add("inverted")
    if rng.random() < 0.15:
        film = images.photographed_film(film, rng)
        said.add("photo_of_film")
    return _example(film, said, np.ones(len(LABELS), np.float32))


def _no_chest(corpus: Corpus, rng: Randomness) -> _Example:
    name = str(rng.choice(list(_FAMILIES), p=_SHARES))
    said = {"not_a_chest"} | (set() if name in _RADIOGRAPHS else {"not_a_radiograph"})
    pixels = _FAMILIES[name](corpus)(rng)
    counts = np.array([label.startswith("not_a") for label in LABELS], np.float32)
    if rng.random() < 0.25:
        pixels = 255 - pixels
    if rng.random() < 0.15:
        # Else the network learns that borders alone make a chest.
        pixels = images.on_a_screen(pixels, rng)
    return _example(pixels, said, counts)


_FAMILIES: dict[str, Callable[[Corpus], images.Family]] = {
    "photograph": lambda corpus: images.photograph(corpus.photographs["train"]),
    "slice": lambda corpus: images.photograph(corpus.slices["train"]),
    "cut_out": lambda corpus: images.cut_out(corpus.films["train"]),
    "limb": lambda corpus: limb,
    "document": lambda corpus: images.document,
    "noise": lambda corpus: images.noise,
    "pattern": lambda corpus: images.pattern,
    "gradient": lambda corpus: images.gradient,
    "blank": lambda corpus: images.blank,
}
_SHARES = (0.24, 0.06, 0.22, 0.16, 0.10, 0.08, 0.07, 0.04, 0.03)
_RADIOGRAPHS = {"cut_out", "limb"}


def _example(pixels: Grey, said: set[str], counts: NDArray[np.float32]) -> _Example:
    targets = np.array([label in said for label in LABELS], np.float32)
    return _Example(thumbnail(np.ascontiguousarray(pixels), SIDE), targets, counts)


def _one_epoch(
    network: MobileNetV2,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    examples: list[_Example],
) -> float:
    network.train()
    losses = []
    for start in range(0, len(examples) - _BATCH + 1, _BATCH):
        batch = examples[start : start + _BATCH]
        pixels = torch.from_numpy(np.stack([example.pixels for example in batch]))[:, None]
        targets = torch.from_numpy(np.stack([example.targets for example in batch]))
        counts = torch.from_numpy(np.stack([example.counts for example in batch]))
        logits, _ = network(pixels)
        loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        mean = (loss * counts).sum() / counts.sum()
        optimiser.zero_grad(set_to_none=True)
        mean.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(float(mean.detach()))
    return float(np.mean(losses))


def _shift_biases(network: MobileNetV2, corpus: Corpus) -> None:
    """Move each output so that probability 0.5 is the threshold chosen on the validation films."""
    network.eval()
    films = [thumbnail(film, SIDE) for film in corpus.films["val"]]
    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack(films))[:, None]
        logits = torch.cat([network(pixels[i : i + 64])[0] for i in range(0, len(pixels), 64)])
    for index, label in enumerate(LABELS):
        refuses = label.startswith(("not_a", "rotated"))
        share = _MOST_REFUSED if refuses else 5 * _MOST_REFUSED
        highest = float(np.quantile(logits[:, index].numpy(), 1 - share))
        threshold = max(0.0, highest)
        typer.echo(f"{label}: threshold at logit {threshold:.2f}")
        with torch.no_grad():
            network.head.bias[index] -= threshold


def save_sheet(path: Path, corpus: Corpus) -> None:
    """A sheet of drawn examples, to look at before training."""
    rng = np.random.default_rng(1)
    rows = [np.hstack([_draw(corpus, rng).pixels for _ in range(12)]) for _ in range(8)]
    Image.fromarray(np.vstack(rows)).save(path)


if __name__ == "__main__":
    app()
