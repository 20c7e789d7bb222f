"""An export comes in whole, and touches nothing that is not its own."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from cxrserve.triton_export import contents, export
from cxrserve.triton_export.repository import replacing
from tests.tiny_package import write_tiny_package
from tests.triton.commands import export_triton


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder with the package `tiny`."""
    write_tiny_package(tmp_path / "models" / "tiny")
    return tmp_path / "models"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def test_a_new_version_takes_the_place_of_the_old_one_whole(models: Path, folder: Path) -> None:
    assert export_triton(folder, models).exit_code == 0
    (folder / "tiny" / "left-over").write_text("of the old one")
    write_tiny_package(models / "tiny", version="1.2.0", bias=1.0)
    assert export_triton(folder, models).exit_code == 0
    assert sorted(one.name for one in (folder / "tiny").iterdir()) == [
        "1002000",
        "config.pbtxt",
        "labels.txt",
        "warmup",
    ]
    assert [one.name for one in folder.iterdir()] == ["tiny"]


def test_models_that_are_not_exported_this_time_stay(models: Path, folder: Path) -> None:
    write_tiny_package(models / "other", name="other")
    assert export_triton(folder, models).exit_code == 0
    assert export_triton(folder, models, "--model", "tiny").exit_code == 0
    assert sorted(one.name for one in folder.iterdir()) == ["other", "tiny"]


@pytest.mark.parametrize("foreign", ["letter.txt", "another/config.pbtxt"])
def test_a_folder_with_other_things_is_refused(models: Path, folder: Path, foreign: str) -> None:
    path = folder / foreign
    path.parent.mkdir(parents=True)
    path.write_text('name: "another"')
    refused = export_triton(folder, models)
    assert refused.exit_code == 1
    assert Path(foreign).parts[0] in refused.output
    assert "--force" in refused.output
    assert not (folder / "tiny").exists()
    assert export_triton(folder, models, "--force").exit_code == 0
    assert path.read_text() == 'name: "another"'


def test_a_model_of_somebody_else_is_never_replaced(models: Path, folder: Path) -> None:
    config = folder / "tiny" / "config.pbtxt"
    config.parent.mkdir(parents=True)
    config.write_text('name: "tiny"\nbackend: "python"\n')
    refused = export_triton(folder, models, "--force")
    assert refused.exit_code == 1
    assert "not replaced" in refused.output
    assert config.read_text() == 'name: "tiny"\nbackend: "python"\n'


def test_an_export_that_breaks_leaves_what_was_there(
    models: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export_triton(folder, models).exit_code == 0
    before = (folder / "tiny" / "config.pbtxt").read_bytes()
    write_tiny_package(models / "tiny", version="2.0.0")

    def full(*_: object) -> bytes:
        raise OSError("no space left on device")

    monkeypatch.setattr(contents, "films", full)
    assert isinstance(export_triton(folder, models).exception, OSError)
    assert (folder / "tiny" / "config.pbtxt").read_bytes() == before
    assert [one.name for one in folder.iterdir()] == ["tiny"]


def test_a_name_that_cannot_be_taken_gives_the_old_model_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repository" / "tiny").mkdir(parents=True)
    (tmp_path / "repository" / "tiny" / "old").touch()
    rename = Path.rename

    def refuse_the_new(self: Path, target: Path) -> Path:
        if (self / "new").exists():
            raise OSError("refused")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    folder = tmp_path / "repository"
    with pytest.raises(OSError, match="refused"), replacing(folder, "tiny") as new:
        (new / "new").touch()
    assert [one.name for one in (folder / "tiny").iterdir()] == ["old"]


def test_the_root_of_a_volume_is_refused_in_words(
    models: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export_triton(folder, models).exit_code == 0
    before = (folder / "tiny" / "config.pbtxt").stat()

    def another_device(*_: object) -> Path:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", another_device)
    refused = export_triton(folder, models)
    assert refused.exit_code == 1
    assert "name a folder inside of it" in refused.output
    assert (folder / "tiny" / "config.pbtxt").stat() == before


def test_nothing_but_whole_models_ever_lies_in_the_repository(
    models: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model, seen = contents.write_model, []

    def look(*arguments: Any) -> None:
        write_model(*arguments)
        seen.append([one.name for one in folder.iterdir()])

    monkeypatch.setattr(export, "write_model", look)
    assert export_triton(folder, models).exit_code == 0
    assert export_triton(folder, models).exit_code == 0
    assert seen == [[], ["tiny"]]
    assert sorted(one.name for one in folder.parent.iterdir()) == ["models", "repository"]
