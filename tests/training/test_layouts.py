"""A public data set is read where it was unpacked, and its patients stay on one side."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cxrserve.training.datasets import Box, Film, UnusableData
from cxrserve.training.layouts import read_layout
from cxrserve.training.layouts.ages import age_years
from cxrserve.training.layouts.splits import stable_split


def film_at(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(path)


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((*lines, "")), encoding="utf-8")


def read(folder: Path) -> dict[str, Film]:
    """The films by their path."""
    films = read_layout(folder)
    assert films is not None
    assert all((folder / film.file).is_file() for film in films)
    return {film.file: film for film in films}


def patients_in(split: str, identifier: Callable[[int], str], *, val: float) -> list[int]:
    """The first patients who fall into a split outside test, found by asking."""
    return [
        number for number in range(1, 200) if stable_split(identifier(number), val=val) == split
    ]


# --- the split ---------------------------------------------------------------------------------


def test_shares_of_many_patients_are_those_asked_for() -> None:
    splits = [stable_split(f"patient {n}", val=0.1, test=0.2) for n in range(10_000)]
    assert splits.count("test") == pytest.approx(2_000, abs=150)
    assert splits.count("val") == pytest.approx(1_000, abs=110)


def test_the_split_is_the_same_on_every_machine() -> None:
    # Pinned: a change here moves patients of everybody's test split into training.
    splits = [stable_split(f"nih-{n}", val=0.3, test=0.3) for n in range(1, 9)]
    assert splits == ["test", "train", "test", "val", "train", "test", "val", "val"]


def test_an_age_is_in_years_whatever_its_unit() -> None:
    texts = ("58", "058Y", "45yrs", "6month", "018M")
    assert [age_years(text) for text in texts] == [58.0, 58.0, 45.0, 0.5, 1.5]
    assert age_years("73days") == pytest.approx(0.2, abs=0.001)


@pytest.mark.parametrize("text", ["", "414", "411Y", "-3", "unknown"])
def test_an_impossible_age_is_not_said(text: str) -> None:
    assert age_years(text) is None


# --- folders that are none of them -------------------------------------------------------------


def test_an_unknown_folder_is_left_to_its_manifest(tmp_path: Path) -> None:
    assert read_layout(tmp_path) is None
    write(tmp_path / "manifest.csv", "file,task,labels,patient,split,age")
    film_at(tmp_path, "images/a.png", "train/a.png")
    assert read_layout(tmp_path) is None


# --- NIH ChestX-ray14 --------------------------------------------------------------------------

HEADER_2017 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
HEADER_2020 = HEADER_2017.replace("Gender", "Sex").rstrip(",")
NIH_ROWS = (
    "00000001_000.png,Cardiomegaly|Pleural_Thickening,000,00001,058Y,M,PA,2682,2749,0.143,0.143,",
    "00000001_001.png,No Finding,001,00001,059Y,M,AP,2682,2749,0.143,0.143,",
    "00000002_000.png,Infiltration,000,00002,414Y,F,PA,2500,2048,0.171,0.171,",
)


def nih(folder: Path, *, header: str = HEADER_2017, rows: tuple[str, ...] = NIH_ROWS) -> None:
    table = "Data_Entry_2017.csv" if header == HEADER_2017 else "Data_Entry_2017_v2020.csv"
    write(folder / table, header, *rows)
    write(folder / "train_val_list.txt", "00000001_000.png", "00000001_001.png")
    write(folder / "test_list.txt", "00000002_000.png")
    write(
        folder / "BBox_List_2017.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,",
        "00000002_000.png,Infiltrate,256,512,128,102.4,,,",
    )
    film_at(
        folder,
        "images_001/images/00000001_000.png",
        "images_001/images/00000001_001.png",
        "images_002/images/00000002_000.png",
    )


def test_nih_findings_people_and_official_test_split(tmp_path: Path) -> None:
    nih(tmp_path)
    films = read(tmp_path)
    first = films["images_001/images/00000001_000.png"]
    assert first == Film(
        file="images_001/images/00000001_000.png",
        task="nih14",
        labels=("Cardiomegaly", "Pleural_Thickening"),
        patient="nih-1",
        split=stable_split("nih-1", val=1 / 8),
        age_years=58.0,
        source="NIH ChestX-ray14",
        view="PA",
        sex="M",
    )
    no_finding = films["images_001/images/00000001_001.png"]
    assert (no_finding.labels, no_finding.view, no_finding.split) == ((), "AP", first.split)
    tested = films["images_002/images/00000002_000.png"]
    assert (tested.split, tested.patient, tested.age_years) == ("test", "nih-2", None)


def test_nih_boxes_are_shares_and_spelt_as_the_findings(tmp_path: Path) -> None:
    nih(tmp_path)
    (box,) = read(tmp_path)["images_002/images/00000002_000.png"].boxes
    assert box == Box(label="Infiltration", left=0.25, top=0.5, width=0.125, height=0.1)


def test_nih_of_2020_in_one_folder_without_boxes(tmp_path: Path) -> None:
    row = "00000002_000.png,Hernia,0,2,81,F,PA,2500,2048,0.171,0.171"
    nih(tmp_path)  # the table of 2017 lies there too; the newer one counts
    nih(tmp_path, header=HEADER_2020, rows=(row,))
    (tmp_path / "BBox_List_2017.csv").unlink()
    film_at(tmp_path, "images/00000002_000.png")
    for old in tmp_path.glob("images_*/images/*.png"):
        old.unlink()
    (film,) = read(tmp_path).values()
    assert (film.file, film.labels, film.boxes) == ("images/00000002_000.png", ("Hernia",), ())
    assert (film.age_years, film.sex, film.split) == (81.0, "F", "test")


def test_nih_may_be_downloaded_in_part_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nih(tmp_path)
    (tmp_path / "images_001/images/00000001_001.png").unlink()
    with caplog.at_level(logging.WARNING, logger="cxrserve"):
        assert len(read(tmp_path)) == 2
    assert "1 of 3 films of ChestX-ray14 are absent" in caplog.text


def test_nih_without_any_film_is_refused(tmp_path: Path) -> None:
    nih(tmp_path)
    for path in tmp_path.glob("images_*/images/*.png"):
        path.unlink()
    with pytest.raises(UnusableData, match="none of the 3 films"):
        read_layout(tmp_path)


@pytest.mark.parametrize("name", ["train_val_list.txt", "test_list.txt"])
def test_nih_without_an_official_list_says_where_to_get_it(tmp_path: Path, name: str) -> None:
    nih(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UnusableData, match=name) as caught:
        read_layout(tmp_path)
    assert "https://nihcc.app.box.com/v/ChestXray-NIHCC" in caught.value.advice


def test_nih_patient_in_both_official_lists_is_refused(tmp_path: Path) -> None:
    nih(tmp_path)
    write(tmp_path / "train_val_list.txt", "00000001_000.png")
    write(tmp_path / "test_list.txt", "00000001_001.png", "00000002_000.png")
    with pytest.raises(UnusableData, match="'nih-1' is in the splits"):
        read_layout(tmp_path)


@pytest.mark.parametrize(("extra", "where"), [("00000002_000.png", "both"), (None, "neither")])
def test_nih_film_must_be_in_one_official_list(
    tmp_path: Path, extra: str | None, where: str
) -> None:
    nih(tmp_path)
    if extra:
        write(tmp_path / "train_val_list.txt", "00000001_000.png", "00000001_001.png", extra)
    else:
        write(tmp_path / "train_val_list.txt", "00000001_000.png")
    with pytest.raises(UnusableData, match=f"in {where} of the official lists"):
        read_layout(tmp_path)


def test_nih_without_a_column_names_it(tmp_path: Path) -> None:
    nih(tmp_path, header=HEADER_2017.replace("Patient Age", "Age"))
    write(tmp_path / "Data_Entry_2017_v2020.csv", HEADER_2017.replace("Patient Age", "Age"))
    with pytest.raises(UnusableData, match="has no column 'Patient Age'"):
        read_layout(tmp_path)


def test_nih_validation_is_a_share_of_patients_not_of_films(tmp_path: Path) -> None:
    rows = tuple(
        f"{patient:08}_{visit:03}.png,No Finding,{visit},{patient},60,F,PA,1,1,1,1,"
        for patient in range(1, 81)
        for visit in range(2)
    )
    names = [row.partition(",")[0] for row in rows]
    write(tmp_path / "Data_Entry_2017.csv", HEADER_2017, *rows)
    write(tmp_path / "train_val_list.txt", *names)
    write(tmp_path / "test_list.txt")
    film_at(tmp_path, *(f"images/{name}" for name in names))
    films = read(tmp_path).values()
    val = {film.patient for film in films if film.split == "val"}
    assert 3 <= len(val) <= 20
    assert not val & {film.patient for film in films if film.split == "train"}


# --- Kermany -----------------------------------------------------------------------------------

KERMANY = (
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/NORMAL/NORMAL2-IM-0666-0001.jpeg",
    "train/PNEUMONIA/person12_bacteria_45.jpeg",
    "train/PNEUMONIA/person12_bacteria_46.jpeg",
    "train/PNEUMONIA/person100_virus_184.jpeg",
    "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
    "test/NORMAL/IM-0001-0001.jpeg",
    "test/PNEUMONIA/person100_bacteria_475.jpeg",
    "test/PNEUMONIA/person3_virus_16.jpeg",
)


@pytest.mark.parametrize("root", ["chest_xray/", ""])
def test_kermany_labels_patients_and_test_folder(tmp_path: Path, root: str) -> None:
    film_at(tmp_path, *(root + file for file in KERMANY))
    film_at(tmp_path, f"{root}train/NORMAL/.hidden.jpeg")
    films = read(tmp_path)
    assert set(films) == {root + file for file in KERMANY}
    told = {file.removeprefix(root): (film.labels, film.patient) for file, film in films.items()}
    assert told["train/NORMAL/IM-0115-0001.jpeg"] == (("normal",), "ker-IM-0115")
    assert told["train/NORMAL/NORMAL2-IM-0666-0001.jpeg"][1] == "ker-NORMAL2-IM-0666"
    bacterial = (("pneumonia", "bacterial"), "ker-person12-bacteria")
    assert told["train/PNEUMONIA/person12_bacteria_45.jpeg"] == bacterial
    assert told["train/PNEUMONIA/person12_bacteria_46.jpeg"] == bacterial
    assert told["test/PNEUMONIA/person3_virus_16.jpeg"][0] == ("pneumonia", "viral")
    assert {film.task for film in films.values()} == {"pneumonia"}
    in_test = {file for file, film in films.items() if film.split == "test"}
    assert in_test == {root + file for file in KERMANY if file.startswith("test/")}


def test_kermany_numbers_of_bacteria_and_virus_are_two_children(tmp_path: Path) -> None:
    film_at(tmp_path, *KERMANY)
    films = read(tmp_path)
    assert films["train/PNEUMONIA/person100_virus_184.jpeg"].split != "test"
    assert films["test/PNEUMONIA/person100_bacteria_475.jpeg"].split == "test"


def test_kermany_child_moved_to_the_other_side_is_refused(tmp_path: Path) -> None:
    film_at(tmp_path, *KERMANY, "test/PNEUMONIA/person12_bacteria_47.jpeg")
    with pytest.raises(UnusableData, match="'ker-person12-bacteria' is in the splits"):
        read_layout(tmp_path)


def test_kermany_val_comes_from_the_patients_not_from_its_folder(tmp_path: Path) -> None:
    def patient(number: int) -> str:
        return f"ker-person{number}-bacteria"

    val, train = (patients_in(split, patient, val=1 / 10)[0] for split in ("val", "train"))
    film_at(
        tmp_path,
        "train/NORMAL/IM-0115-0001.jpeg",
        f"train/PNEUMONIA/person{val}_bacteria_1.jpeg",
        f"val/PNEUMONIA/person{train}_bacteria_2.jpeg",
        "test/NORMAL/IM-0001-0001.jpeg",
    )
    films = read(tmp_path)
    assert films[f"train/PNEUMONIA/person{val}_bacteria_1.jpeg"].split == "val"
    assert films[f"val/PNEUMONIA/person{train}_bacteria_2.jpeg"].split == "train"


def test_kermany_third_version_names_its_patients_by_kind(tmp_path: Path) -> None:
    film_at(
        tmp_path,
        "train/NORMAL/NORMAL-1049278-0001.jpeg",
        "train/PNEUMONIA/BACTERIA-1135262-0001.jpeg",
        "test/PNEUMONIA/VIRUS-1135262-0002.jpeg",
    )
    told = {film.patient: film.labels for film in read(tmp_path).values()}
    assert told == {
        "ker-NORMAL-1049278": ("normal",),
        "ker-BACTERIA-1135262": ("pneumonia", "bacterial"),
        "ker-VIRUS-1135262": ("pneumonia", "viral"),
    }


@pytest.mark.parametrize(
    ("file", "wrong"),
    [
        ("train/PNEUMONIA/renamed.jpeg", "does not say whose film it is"),
        ("train/NORMAL/person1_virus_6.jpeg", "is in the folder NORMAL"),
        ("train/PNEUMONIA/IM-0117-0001.jpeg", "is in the folder PNEUMONIA"),
    ],
)
def test_kermany_film_that_cannot_be_believed_is_refused(
    tmp_path: Path, file: str, wrong: str
) -> None:
    film_at(tmp_path, *KERMANY, file)
    with pytest.raises(UnusableData, match=wrong):
        read_layout(tmp_path)


def test_kermany_without_its_test_folder_is_refused(tmp_path: Path) -> None:
    film_at(tmp_path, *(file for file in KERMANY if file.startswith("train/")))
    with pytest.raises(UnusableData, match="no film in test/"):
        read_layout(tmp_path)


def test_kermany_split_is_stable_when_films_are_added(tmp_path: Path) -> None:
    film_at(tmp_path, *KERMANY)
    before = read(tmp_path)
    more = (f"train/PNEUMONIA/person{n}_bacteria_{n}.jpeg" for n in range(300, 340))
    film_at(tmp_path, *more)
    after = read(tmp_path)
    assert len(after) == len(before) + 40
    assert all(after[file] == film for file, film in before.items())


# --- TBX11K ------------------------------------------------------------------------------------

CATEGORIES = [
    {"id": 1, "name": "ActiveTuberculosis", "supercategory": "Tuberculosis"},
    {"id": 2, "name": "ObsoletePulmonaryTuberculosis", "supercategory": "Tuberculosis"},
    {"id": 3, "name": "PulmonaryTuberculosis", "supercategory": "Tuberculosis"},
]
TBX_TRAIN = ("health/h0001.png", "sick/s0001.png", "tb/tb0001.png", "tb/tb0002.png")
TBX_VAL = ("health/h0002.png", "tb/tb0003.png", "tb/tb0004.png")


def coco(names: tuple[str, ...], *annotations: tuple[int, int, list[float]]) -> str:
    """COCO's form; an annotation is the index of its film, its category and its box in pixels."""
    return json.dumps(
        {
            "images": [
                {"id": index, "file_name": name, "width": 512, "height": 512}
                for index, name in enumerate(names)
            ],
            "annotations": [
                {"id": number, "image_id": image, "category_id": category, "bbox": box}
                for number, (image, category, box) in enumerate(annotations)
            ],
            "categories": CATEGORIES,
        }
    )


def tbx(folder: Path) -> None:
    film_at(folder, *(f"imgs/{name}" for name in (*TBX_TRAIN, *TBX_VAL)))
    film_at(folder, "imgs/extra/da+db/train/n11.png", "imgs/test/test_0001.png")
    write(folder / "lists/TBX11K_train.txt", *TBX_TRAIN)
    write(folder / "lists/TBX11K_val.txt", *TBX_VAL)
    write(folder / "lists/all_trainval.txt", *TBX_TRAIN, *TBX_VAL, "extra/da+db/train/n11.png")
    write(folder / "lists/all_test.txt", "test/test_0001.png")
    notes = folder / "annotations/json"
    both = ((2, 2, [128.0, 256.0, 64.0, 51.2]), (2, 1, [0.0, 0.0, 512.0, 512.0]))
    write(notes / "TBX11K_train.json", coco(TBX_TRAIN, *both))
    write(notes / "TBX11K_val.json", coco(TBX_VAL, (1, 3, [0.0, 0.0, 256.0, 128.0])))


def test_tbx11k_classes_and_activity(tmp_path: Path) -> None:
    tbx(tmp_path)
    films = read(tmp_path)
    assert {file.removeprefix("imgs/"): film.labels for file, film in films.items()} == {
        "health/h0001.png": ("normal",),
        "health/h0002.png": ("normal",),
        "sick/s0001.png": ("sick",),
        "tb/tb0001.png": ("tuberculosis", "active", "latent"),
        "tb/tb0002.png": ("tuberculosis",),  # the readers drew no box
        "tb/tb0003.png": ("tuberculosis",),  # uncertain
        "tb/tb0004.png": ("tuberculosis",),
    }
    assert {film.task for film in films.values()} == {"tb"}


def test_tbx11k_boxes_are_shares_of_the_film(tmp_path: Path) -> None:
    tbx(tmp_path)
    boxes = read(tmp_path)["imgs/tb/tb0001.png"].boxes
    assert boxes == (
        Box(label="ObsoletePulmonaryTuberculosis", left=0.25, top=0.5, width=0.125, height=0.1),
        Box(label="ActiveTuberculosis", left=0.0, top=0.0, width=1.0, height=1.0),
    )


def test_tbx11k_official_val_is_our_test(tmp_path: Path) -> None:
    tbx(tmp_path)
    films = read(tmp_path)
    tested = {file for file, film in films.items() if film.split == "test"}
    assert tested == {f"imgs/{name}" for name in TBX_VAL}
    assert len({film.patient for film in films.values()}) == len(films)
    trained = films["imgs/tb/tb0001.png"]
    assert trained.split == stable_split("tbx-tb0001", val=1 / 8)


def test_tbx11k_missing_films_are_counted_and_the_first_named(tmp_path: Path) -> None:
    tbx(tmp_path)
    (tmp_path / "imgs/sick/s0001.png").unlink()
    (tmp_path / "imgs/tb/tb0004.png").unlink()
    wrong = r"2 of 7 listed films are missing, the first is imgs/sick/s0001\.png"
    with pytest.raises(UnusableData, match=wrong):
        read_layout(tmp_path)


def test_tbx11k_film_in_both_lists_is_refused(tmp_path: Path) -> None:
    tbx(tmp_path)
    write(tmp_path / "lists/TBX11K_val.txt", *TBX_VAL, "tb/tb0001.png")
    with pytest.raises(UnusableData, match="'tbx-tb0001' is in the splits"):
        read_layout(tmp_path)


def test_tbx11k_film_of_another_set_is_refused(tmp_path: Path) -> None:
    tbx(tmp_path)
    write(tmp_path / "lists/TBX11K_train.txt", "extra/da+db/train/n11.png")
    with pytest.raises(UnusableData, match=r"n11\.png, which is in none of health, sick, tb"):
        read_layout(tmp_path)


@pytest.mark.parametrize("name", ["lists/TBX11K_val.txt", "annotations/json/TBX11K_train.json"])
def test_tbx11k_without_one_of_its_files_is_refused(tmp_path: Path, name: str) -> None:
    tbx(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UnusableData, match=f"{Path(name).name} is missing"):
        read_layout(tmp_path)


def test_tbx11k_damaged_annotations_are_refused(tmp_path: Path) -> None:
    tbx(tmp_path)
    write(tmp_path / "annotations/json/TBX11K_val.json", '{"images": [')
    with pytest.raises(UnusableData, match=r"TBX11K_val\.json is damaged"):
        read_layout(tmp_path)


# --- Shenzhen and Montgomery -------------------------------------------------------------------


def test_shenzhen_and_montgomery_with_their_readings(tmp_path: Path) -> None:
    film_at(
        tmp_path,
        "CXR_png/CHNCXR_0001_0.png",
        "CXR_png/CHNCXR_0400_1.png",
        "CXR_png/MCUCXR_0001_0.png",
        "masks/CHNCXR_0400_1_mask.png",
        "masks/MCUCXR_0001_0.png",
        "ManualMask/leftMask/MCUCXR_0001_0.png",
    )
    (tmp_path / "CXR_png/Thumbs.db").touch()
    readings = tmp_path / "ClinicalReadings"
    write(readings / "CHNCXR_0001_0.txt", "male 45yrs", "normal")
    write(readings / "MCUCXR_0001_0.txt", "Patient's Sex: F ", "Patient's Age: 027Y", "normal")
    films = read(tmp_path)
    assert films["CXR_png/CHNCXR_0001_0.png"] == Film(
        file="CXR_png/CHNCXR_0001_0.png",
        task="tb",
        labels=("normal",),
        patient="CHNCXR_0001",
        split=stable_split("CHNCXR_0001", val=0.1, test=0.2),
        age_years=45.0,
        source="Shenzhen",
        sex="M",
    )
    unread = films["CXR_png/CHNCXR_0400_1.png"]
    assert (unread.labels, unread.age_years, unread.sex) == (("tuberculosis",), None, "")
    assert unread.mask == "masks/CHNCXR_0400_1_mask.png"
    woman = films["CXR_png/MCUCXR_0001_0.png"]
    assert (woman.source, woman.sex, woman.age_years) == ("Montgomery", "F", 27.0)
    assert woman.mask == "masks/MCUCXR_0001_0.png"


@pytest.mark.parametrize(
    ("reading", "sex", "age"),
    [
        ("femal 32yrs\nnormal", "F", 32.0),
        ("female24yrs\nnormal", "F", 24.0),
        ("male , 29yrs  \t\nbilateral secondary PTB", "M", 29.0),
        ("male 18month\nnormal", "M", 1.5),
        ("male 42\n2 nodules", "M", 42.0),
        ("normal", "", None),
    ],
)
def test_shenzhen_readings_are_understood_as_they_were_typed(
    tmp_path: Path, reading: str, sex: str, age: float | None
) -> None:
    film_at(tmp_path, "CXR_png/CHNCXR_0044_0.png")
    write(tmp_path / "ClinicalReadings/CHNCXR_0044_0.txt", reading)
    (film,) = read(tmp_path).values()
    assert (film.sex, film.age_years) == (sex, age)


def test_montgomery_second_film_of_a_patient_stays_with_the_first(tmp_path: Path) -> None:
    film_at(tmp_path, "CXR_png/MCUCXR_0162_1.png", "CXR_png/MCUCXR_0166_1.png")
    write(
        tmp_path / "ClinicalReadings/MCUCXR_0166_1.txt",
        "Patient's Sex: M ",
        "Patient's Age: 049Y",
        "NO REPORT (same pt as MCUCXR_0162_1)",
    )
    films = read(tmp_path).values()
    assert {film.patient for film in films} == {"MCUCXR_0162"}
    assert len({film.split for film in films}) == 1


def test_shenzhen_is_split_in_three_and_stays_so_when_films_are_added(tmp_path: Path) -> None:
    film_at(tmp_path, *(f"CXR_png/CHNCXR_{n:04}_0.png" for n in range(1, 101)))
    before = read(tmp_path)
    counts = [sum(film.split == name for film in before.values()) for name in ("val", "test")]
    assert counts[0] in range(4, 20)
    assert counts[1] in range(10, 32)
    film_at(tmp_path, *(f"CXR_png/CHNCXR_{n:04}_1.png" for n in range(327, 427)))
    after = read(tmp_path)
    assert len(after) == 200
    assert all(after[file] == film for file, film in before.items())


def test_shenzhen_film_under_another_name_is_refused(tmp_path: Path) -> None:
    film_at(tmp_path, "CXR_png/CHNCXR_0001_0.png", "CXR_png/CHNCXR_0002.png")
    with pytest.raises(UnusableData, match="CHNCXR_0002"):
        read_layout(tmp_path)


# --- lung masks --------------------------------------------------------------------------------


@pytest.mark.parametrize("films_in", ["CXR_png", "images"])
def test_films_with_lung_masks(
    tmp_path: Path, films_in: str, caplog: pytest.LogCaptureFixture
) -> None:
    film_at(tmp_path, *(f"{films_in}/{name}" for name in ("a.png", "b.jpg", "no_mask.png")))
    film_at(tmp_path, "masks/a.png", "masks/b_mask.png")
    with caplog.at_level(logging.WARNING, logger="cxrserve"):
        films = read(tmp_path)
    assert films == {
        f"{films_in}/{name}": Film(
            file=f"{films_in}/{name}",
            task="lungs",
            labels=(),
            patient=name[0],
            split=stable_split(name[0], val=0.1, test=0.1),
            mask=mask,
        )
        for name, mask in (("a.png", "masks/a.png"), ("b.jpg", "masks/b_mask.png"))
    }
    assert "1 of 3 films have no lung mask" in caplog.text


def test_masks_of_other_films_are_refused(tmp_path: Path) -> None:
    film_at(tmp_path, "images/a.png", "masks/b.png")
    with pytest.raises(UnusableData, match="none of 1 films has a mask"):
        read_layout(tmp_path)
