"""What is trained on is what the manifest says, and no patient is on both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from cxrserve.models.preprocess import fit
from cxrserve.training.datasets import UnusableData, load_examples, read_manifest, two_lungs
from cxrserve.training.losses import class_weights, label_weights
from cxrserve.training.recipe import Recipe

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


def test_a_film_says_whose_it_is_and_where_its_boxes_lie(tmp_path: Path) -> None:
    columns = "file,task,labels,patient,split,age,boxes,original_width,original_height,sex"
    told = 'a.png,pneumonia,normal,anna,train,3.5,"Nodule:100,50,20,10",200,100,f'
    (tmp_path / "manifest.csv").write_text(f"{columns}\n{told}\n", encoding="utf-8")
    (film,) = read_manifest(tmp_path, task="pneumonia")
    (box,) = film.boxes
    assert (box.label, box.left, box.top, box.width, box.height) == ("Nodule", 0.5, 0.5, 0.1, 0.1)
    assert film.sex == "F"
    assert (film.patient, film.age_years, film.labels) == ("anna", 3.5, ("normal",))


def test_pixels_are_those_that_serving_would_prepare(hospital: Path, small_recipe: Recipe) -> None:
    films = read_manifest(hospital, task="pneumonia")
    examples = load_examples(hospital, small_recipe, "val")
    chosen = [film for film in films if film.split == "val"]
    assert examples.pixels.shape == (32, 64, 64)
    for index in (0, 13, 31):
        original = np.asarray(Image.open(hospital / chosen[index].file))
        assert_array_equal(examples.pixels[index], fit(original, small_recipe.input))
        assert LABELS[examples.targets[index].argmax()] in chosen[index].labels


def test_a_film_that_the_recipe_does_not_mean_is_left_out(
    tmp_path: Path, small_recipe: Recipe
) -> None:
    write_manifest(
        tmp_path,
        "a.png,pneumonia,covid19,anna,train,",
        "b.png,pneumonia,normal,ben,train,",
        "c.png,pneumonia,normal|pneumonia,cleo,test,",
    )
    for name in "abc":
        Image.new("L", (64, 64)).save(tmp_path / f"{name}.png")
    assert load_examples(tmp_path, small_recipe, "train").patients == ("ben",)
    with pytest.raises(UnusableData, match=r"c\.png has 2 of the labels"):
        load_examples(tmp_path, small_recipe, "test")


def test_without_a_validation_split_every_eighth_patient_is_one(
    tmp_path: Path, small_recipe: Recipe
) -> None:
    rows = [f"{n}-{k}.png,pneumonia,normal,p{n},train," for n in range(16) for k in range(2)]
    write_manifest(tmp_path, *rows)
    for row in rows:
        Image.new("L", (64, 64)).save(tmp_path / row.split(",")[0])
    train, val = (load_examples(tmp_path, small_recipe, split) for split in ("train", "val"))
    assert len(set(val.patients)) == 2
    assert not set(val.patients) & set(train.patients)
    assert len(train.patients) + len(val.patients) == 32


def test_weights_make_the_classes_count_the_same() -> None:
    targets = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    assert_array_equal(class_weights(targets), np.array([2, 2 / 3], np.float32))
    with pytest.raises(UnusableData, match="none may be 0"):
        class_weights(np.array([[1, 0]], np.float32))


def test_a_rare_finding_weighs_as_much_as_its_absence() -> None:
    targets = np.array([[1, 0], [0, 0], [0, 1], [0, 1]], np.float32)
    absent, present = label_weights(targets)
    assert_array_equal(absent * (targets == 0).sum(0), present * (targets == 1).sum(0))
    assert_array_equal(present, np.array([1.5, 1.0], np.float32))


def test_the_lung_on_the_left_of_the_picture_comes_first() -> None:
    mask = np.zeros((40, 60), np.bool_)
    mask[5:35, 5:25] = mask[5:35, 35:55] = True
    left, right = two_lungs(mask)
    assert_array_equal(left > 0, mask & (np.arange(60) < 30))
    assert_array_equal(right > 0, mask & (np.arange(60) >= 30))
    mask[20:22, 25:35] = True  # the two touch
    joined = two_lungs(mask)
    assert_array_equal(joined.any(axis=0), mask)
    assert abs(int((joined[0] > 0).sum()) - int((joined[1] > 0).sum())) <= 40
