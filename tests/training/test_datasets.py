"""What is trained on is what the manifest says, and no patient is on both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from cxrserve.models.manifest import Input
from cxrserve.models.preprocess import fit
from cxrserve.training.datasets import UnusableData, load_examples, read_manifest
from cxrserve.training.train import class_weights

LABELS = ("normal", "pneumonia")


def write_manifest(folder: Path, *rows: str) -> None:
    lines = ("file,task,labels,patient,split,age", *rows, "")
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")


def test_a_patient_in_two_splits_is_refused_by_name(tmp_path: Path) -> None:
    write_manifest(
        tmp_path,
        "a.png,pneumonia,normal,anna,train,",
        "b.png,pneumonia,normal,ben,test,",
        "c.png,pneumonia,normal,anna,test,",
    )
    with pytest.raises(UnusableData, match="'anna' is in the splits 'train' and 'test'"):
        read_manifest(tmp_path, task="pneumonia")


def test_the_same_patient_name_in_another_task_is_no_leak(tmp_path: Path) -> None:
    write_manifest(
        tmp_path,
        "a.png,pneumonia,normal,anna,train,3.5",
        "b.png,tb,tuberculosis,anna,test,",
    )
    (film,) = read_manifest(tmp_path, task="pneumonia")
    assert (film.patient, film.age_years, film.labels) == ("anna", 3.5, ("normal",))


def test_pixels_are_those_that_serving_would_prepare(hospital: Path) -> None:
    films = read_manifest(hospital, task="pneumonia")
    how = Input(side=64)
    examples = load_examples(hospital, films, "val", labels=LABELS, how=how)
    chosen = [film for film in films if film.split == "val"]
    assert examples.pixels.shape == (32, 64, 64)
    for index in (0, 13, 31):
        original = np.asarray(Image.open(hospital / chosen[index].file))
        assert_array_equal(examples.pixels[index], fit(original, how))
        assert LABELS[examples.targets[index]] in chosen[index].labels


def test_a_film_with_none_of_the_labels_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, "a.png,pneumonia,covid19,anna,train,")
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    films = read_manifest(tmp_path, task="pneumonia")
    with pytest.raises(UnusableData, match="0 of the labels"):
        load_examples(tmp_path, films, "train", labels=LABELS, how=Input(side=64))


def test_weights_make_the_classes_count_the_same() -> None:
    targets = np.array([0, 1, 1, 1], np.int64)
    weights = class_weights(targets, 2)
    assert_array_equal(weights, np.array([2, 2 / 3], np.float32))
    with pytest.raises(UnusableData, match="none may be 0"):
        class_weights(targets, 3)
