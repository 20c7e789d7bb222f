"""What hospitals and phones really send, answered by the real service."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from tests.acceptance.conftest import Server

pytestmark = [pytest.mark.server, pytest.mark.data]

_CHESTS = (
    "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm",
    "Fake_MONOHR1.dcm",
    "RG1_J2KI.dcm",
    "RG1_J2KR.dcm",
    "RG1_UNCR.dcm",
)
_OTHERS = ("RG3_J2KI.dcm", "RG3_J2KR.dcm", "mlut_18.dcm", "vlut_04.dcm")


def ask(client: httpx.Client, image: bytes | Path, **query: str) -> httpx.Response:
    data = image.read_bytes() if isinstance(image, Path) else image
    return client.post("/v1/predict", content=data, params=query)


def probability(answer: httpx.Response, label: str = "pneumonia") -> float:
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    (found,) = (finding for finding in result["findings"] if finding["label"] == label)
    return float(found["probability"])


def test_every_original_upload_gets_findings(client: httpx.Client, data_dir: Path) -> None:
    files = sorted((data_dir / "originals").iterdir())
    assert len(files) == 35
    answers = {file.name: ask(client, file) for file in files}
    refused = {name: one.json() for name, one in answers.items() if one.status_code != 200}
    assert not refused
    for one in answers.values():
        assert 0 <= probability(one) <= 1


@pytest.mark.parametrize("name", _CHESTS)
def test_every_dicom_chest_gets_findings(client: httpx.Client, data_dir: Path, name: str) -> None:
    assert 0 <= probability(ask(client, data_dir / "dicom" / name)) <= 1


@pytest.mark.parametrize("name", _OTHERS)
def test_what_is_no_chest_is_refused_with_a_reason(
    client: httpx.Client, data_dir: Path, name: str
) -> None:
    refused = ask(client, data_dir / "dicom" / name)
    assert refused.status_code == 422
    assert set(refused.json()["reasons"]) & {"not_a_chest", "not_a_radiograph"}
    forced = ask(client, data_dir / "dicom" / name, force="true")
    assert forced.status_code == 200
    assert [reason["code"] for reason in forced.json()["image"]["reasons"]] == (
        refused.json()["reasons"]
    )


def test_two_codings_of_the_same_pixels_give_identical_results(
    client: httpx.Client, data_dir: Path
) -> None:
    one = ask(client, data_dir / "dicom" / "RG1_UNCR.dcm").json()
    other = ask(client, data_dir / "dicom" / "RG1_J2KR.dcm").json()
    assert one["results"] == other["results"]
    assert one["image"]["sha256"] == other["image"]["sha256"]


def test_an_edited_photometric_interpretation_is_seen(client: httpx.Client, data_dir: Path) -> None:
    true, fake = (ask(client, data_dir / "dicom" / name).json() for name in _CHESTS[:2])
    remarked = "inverted" in [warning["code"] for warning in fake["image"]["warnings"]]
    assert remarked or true["results"] != fake["results"]
    assert true["image"]["sha256"] != fake["image"]["sha256"]


def _dcmtk(*command: str) -> Callable[[Path, Path], bytes]:
    def transcode(source: Path, out: Path) -> bytes:
        subprocess.run([*command, str(source), str(out)], check=True, capture_output=True)
        return out.read_bytes()

    return transcode


def _pydicom(syntax: uid.UID, plugin: str) -> Callable[[Path, Path], bytes]:
    def transcode(source: Path, _out: Path) -> bytes:
        dataset = pydicom.dcmread(source)
        dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
        return _bytes(dataset)

    return transcode


def _htj2k(syntax: uid.UID) -> Callable[[Path, Path], bytes]:
    def transcode(source: Path, _out: Path) -> bytes:
        imagecodecs = pytest.importorskip("imagecodecs")
        dataset = pydicom.dcmread(source)
        stream = imagecodecs.htj2k_encode(dataset.pixel_array, reversible=True)
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
        return _bytes(dataset)

    return transcode


def _bytes(dataset: pydicom.Dataset) -> bytes:
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


_LOSSLESS: dict[str, Callable[[Path, Path], bytes]] = {
    "implicit little endian": _dcmtk("dcmconv", "+ti"),
    "explicit big endian": _dcmtk("dcmconv", "+tb"),
    "deflated": _dcmtk("dcmconv", "+td"),
    "RLE": _dcmtk("dcmcrle"),
    "JPEG lossless SV1": _dcmtk("dcmcjpeg", "+e1"),
    "JPEG lossless": _dcmtk("dcmcjpeg", "+el"),
    "JPEG-LS": _dcmtk("dcmcjpls"),
    "JPEG 2000 by gdcm": _dcmtk("gdcmconv", "--j2k"),
    "JPEG 2000 by openjpeg": _pydicom(uid.JPEG2000Lossless, "pylibjpeg"),
    "HTJ2K": _htj2k(uid.HTJ2KLossless),
}
_LOSSY: dict[str, Callable[[Path, Path], bytes]] = {
    "JPEG extended, 12 bits": _dcmtk("dcmcjpeg", "+ee", "+bt"),
    "JPEG baseline": _dcmtk("dcmcjpeg", "+eb"),
    "JPEG-LS near lossless": _dcmtk("dcmcjpls", "+en", "+md", "8"),
}


@pytest.mark.dcmtk
@pytest.mark.parametrize("name", _LOSSLESS)
def test_a_lossless_transfer_syntax_changes_nothing(
    client: httpx.Client, data_dir: Path, dcmtk: None, tmp_path: Path, name: str
) -> None:
    source = data_dir / "dicom" / "RG1_UNCR.dcm"
    transcoded = _LOSSLESS[name](source, tmp_path / "out.dcm")
    one, other = ask(client, source).json(), ask(client, transcoded).json()
    assert other["image"]["sha256"] == one["image"]["sha256"]
    assert other["results"] == one["results"]


@pytest.mark.dcmtk
@pytest.mark.parametrize("name", _LOSSY)
def test_a_lossy_transfer_syntax_moves_the_probability_by_less_than_two_percent(
    client: httpx.Client, data_dir: Path, dcmtk: None, tmp_path: Path, name: str
) -> None:
    source = data_dir / "dicom" / "RG1_UNCR.dcm"
    transcoded = _LOSSY[name](source, tmp_path / "out.dcm")
    assert probability(ask(client, transcoded)) == pytest.approx(
        probability(ask(client, source)), abs=0.02
    )


def test_the_lossy_file_of_the_set_agrees_with_the_lossless_one(
    client: httpx.Client, data_dir: Path
) -> None:
    lossy = probability(ask(client, data_dir / "dicom" / "RG1_J2KI.dcm"))
    exact = probability(ask(client, data_dir / "dicom" / "RG1_J2KR.dcm"))
    assert lossy == pytest.approx(exact, abs=0.02)


def test_a_hundred_times_alone_and_sixteen_at_once_give_the_same_findings(
    server: Server, client: httpx.Client, data_dir: Path
) -> None:
    image = (data_dir / "originals" / "IM-0129-0001.jpeg").read_bytes()
    others = [file.read_bytes() for file in sorted((data_dir / "originals").iterdir())[:4]]
    alone = {_findings(ask(client, image)) for _ in range(100)}
    assert len(alone) == 1
    with server.client() as shared, ThreadPoolExecutor(16) as pool:
        # Other patients' images in between, so that a mix-up would show.
        mixed = [image if number % 2 else others[number % 4] for number in range(100)]
        together = list(pool.map(lambda one: ask(shared, one), mixed))
    assert {_findings(answer) for answer in together[1::2]} == alone


def _findings(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    results: Any = answer.json()["results"]
    return str(results)
