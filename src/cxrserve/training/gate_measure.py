"""How often the whole gate, rules and network, is right: the figures of its card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cxrserve.models.package import read_package
from cxrserve.radiograph.gate import QualityGate
from cxrserve.radiograph.gate_network import load_gate_network
from cxrserve.radiograph.phantom import draw_phantom
from cxrserve.radiograph.radiograph import Facts, ImageFormat, Radiograph
from cxrserve.radiograph.reader import read_radiograph
from cxrserve.training import gate_images as images
from cxrserve.training.datasets import Split
from cxrserve.training.gate_bones import limb
from cxrserve.training.gate_corpus import TASKS, Corpus
from cxrserve.training.gate_images import Grey, Randomness
from cxrserve.training.gate_package import CARD, METRICS, save_manifest

_SEED = 7
_EACH = 400


@dataclass(frozen=True, slots=True)
class Figure:
    """What became of one kind of image.

    `answered`, `unremarked` and `expected` are shares of `images`: not refused; neither refused
    nor warned of; given the remark that this kind should get.
    """

    kind: str
    images: int
    answered: float
    unremarked: float
    expected: float | None


def measure_gate(corpus: Corpus, data: Path, package: Path) -> str:
    """Measure, write the package's `metrics.json` and card, and give the table as Markdown."""
    manifest = read_package(package).manifest
    gate = QualityGate(load_gate_network(package))
    figures = [
        *_films(gate, corpus),
        *_turned(gate, corpus),
        *_no_chests(gate, corpus),
        *_held_out(gate, data),
    ]
    (package / METRICS).write_text(json.dumps([asdict(one) for one in figures], indent=1), "utf-8")
    shown = table(figures)
    (package / CARD).write_text(_CARD.format(table=shown), "utf-8")
    save_manifest(package, manifest)
    return shown


def _films(gate: QualityGate, corpus: Corpus) -> list[Figure]:
    figures = []
    groups: dict[str, tuple[Split, ...]] = {"test": ("test",), "all": ("train", "val", "test")}
    for split, splits in groups.items():
        kept: dict[str, list[Grey]] = {task: [] for task in TASKS}
        for one in splits:
            for task, film in zip(corpus.tasks[one], corpus.films[one], strict=True):
                kept[task].append(film)
        figures += [
            judged_pixels(gate, f"chest films, {task}, {split}", films, None)
            for task, films in kept.items()
        ]
        every = [film for films in kept.values() for film in films]
        figures.append(judged_pixels(gate, f"chest films, every source, {split}", every, None))
    return figures


def _turned(gate: QualityGate, corpus: Corpus) -> list[Figure]:
    rng = np.random.default_rng(_SEED)
    films = corpus.films["test"]
    kinds: list[tuple[str, str, Callable[[Grey], Grey]]] = [
        ("turned by 90°", "rotated", lambda film: np.rot90(film, -1)),
        ("turned by 180°", "rotated", lambda film: np.rot90(film, 2)),
        ("turned by 270°", "rotated", lambda film: np.rot90(film, 1)),
        ("inverted", "inverted", lambda film: 255 - film),
        ("photographed (simulated)", "photo_of_film",
         lambda film: images.photographed_film(film, rng)),
    ]  # fmt: skip
    return [
        judged_pixels(gate, f"test films, {name}", [change(film) for film in films], code)
        for name, code, change in kinds
    ]


def _no_chests(gate: QualityGate, corpus: Corpus) -> list[Figure]:
    kinds: list[tuple[str, str, Callable[[Randomness], Grey]]] = [
        ("photographs, grey, held out", "not_a_chest|not_a_radiograph",
         images.photograph(corpus.photographs["test"])),
        ("documents", "not_a_chest|not_a_radiograph", images.document),
        ("noise", "not_a_chest|not_a_radiograph|blank", images.noise),
        ("test patterns", "not_a_chest|not_a_radiograph|blank", images.pattern),
        ("gradients", "not_a_chest|not_a_radiograph|blank", images.gradient),
        ("blank", "not_a_chest|not_a_radiograph|blank", images.blank),
        ("drawn limbs, skulls, pelves", "not_a_chest|not_a_radiograph", limb),
        ("cut-outs of test films", "not_a_chest|not_a_radiograph",
         images.cut_out(corpus.films["test"])),
        ("our phantoms, new seeds", "phantom", _new_phantom),
    ]  # fmt: skip
    figures = []
    for number, (name, codes, family) in enumerate(kinds):
        count = 40 if family is _new_phantom else _EACH
        seeds = np.random.SeedSequence([_SEED, number]).spawn(count)
        drawn = [family(np.random.default_rng(seed)) for seed in seeds]
        figures.append(judged_pixels(gate, name, drawn, codes))
    return figures


def _new_phantom(rng: Randomness) -> Grey:
    return draw_phantom(side=256, seed=int(rng.integers(10_000, 20_000)))


def _held_out(gate: QualityGate, data: Path) -> list[Figure]:
    """What no part of training or of choosing thresholds has seen, as users send it."""
    files = sorted((data / "originals").iterdir()) + sorted((data / "dicom").iterdir())
    read = {file.name: read_radiograph(file.read_bytes()) for file in files}
    others = {"RG3_J2KI.dcm", "RG3_J2KR.dcm", "mlut_18.dcm", "vlut_04.dcm"}
    fake = "Fake_MONOHR1.dcm"
    chests = [one for name, one in read.items() if name not in others | {fake}]
    refused = "not_a_chest|not_a_radiograph"
    return [
        _judged(gate, "originals and DICOM chests, as uploaded", chests, None),
        _judged(gate, "the DICOM chest whose header was edited", [read[fake]], "inverted"),
        _judged(gate, "extremity and patterns, as uploaded", [read[one] for one in sorted(others)],
                refused),
        _judged(gate, "the same, their headers withheld",
                [_bare(read[one].pixels) for one in sorted(others)], refused),
    ]  # fmt: skip


def judged_pixels(gate: QualityGate, kind: str, pixels: list[Grey], expected: str | None) -> Figure:
    """Judge images of one kind by their pixels alone, uint8 `[h, w]` each.

    `expected` names the codes, parted by `|`, of which one should be given.
    """
    return _judged(gate, kind, [_bare(one) for one in pixels], expected)


def _bare(pixels: Grey) -> Radiograph:
    height, width = pixels.shape
    # The corpus keeps films small; their true size is not what is measured here.
    return Radiograph(
        pixels=np.ascontiguousarray(pixels),
        format=ImageFormat.PNG,
        width=4 * width,
        height=4 * height,
        facts=Facts(),
    )


def _judged(
    gate: QualityGate, kind: str, radiographs: list[Radiograph], expected: str | None
) -> Figure:
    remarks = [gate.inspect(one) for one in radiographs]
    wanted = set((expected or "").split("|"))
    count = len(remarks)
    return Figure(
        kind=kind,
        images=count,
        answered=sum(not any(one.refuses for one in each) for each in remarks) / count,
        unremarked=sum(not each for each in remarks) / count,
        expected=sum(any(one.code in wanted for one in each) for each in remarks) / count
        if expected
        else None,
    )


def table(figures: list[Figure]) -> str:
    """The figures as a Markdown table."""
    rows = [
        "| images | number | answered | without any remark | given the right remark |",
        "|---|---:|---:|---:|---:|",
    ]
    for one in figures:
        right = "" if one.expected is None else f"{one.expected:.1%}"
        rows.append(
            f"| {one.kind} | {one.images} | {one.answered:.1%} | {one.unremarked:.1%} | {right} |"
        )
    return "\n".join(rows)


_CARD = """# gate

Tells a readable frontal chest radiograph from what is none, so that chest models are not asked
about hands, letters or films turned on their side. **Research use only; not a medical device.**

- No real extremity, abdomen, skull or lateral chest was trained on: drawings and cut-outs of chest
  films stand in for them. Photographs of films were simulated.
- It does not judge positioning, inspiration or exposure.
- Drawn families are measured on new drawings by the same hand: expect worse on what people send.

MobileNetV2 (width 0.35) on a 112-pixel thumbnail, started from ImageNet, eight independent sigmoid
outputs; thresholds chosen on the validation films so that almost none of them is refused, then
moved into the biases, so that 0.5 is each output's threshold.

## Figures

The whole gate, rules and network; test films are of patients that training never saw.

{table}

Printed by `python -m cxrserve.training.gate measure` (docs/quality-gate.md), 2026-11-21, on a
2-core x86-64 CPU.
"""
