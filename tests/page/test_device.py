"""Reading on the user's own device: the same figures, and no pixel leaves it."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from cxrserve.page.command import write_page
from cxrserve.page.local_models import NAMES, local_models
from cxrserve.radiograph.phantom import draw_phantom
from tests.acceptance.conftest import ROOT, Server
from tests.page.conftest import Opening, Ui

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("web_runtime"),
]
_WITHIN = 1e-3


@dataclass
class Folder:
    """A folder behind a plain web server, and all that was asked of it."""

    address: str
    web: http.server.ThreadingHTTPServer
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def end(self) -> None:
        self.web.shutdown()
        self.web.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    write_page(tmp_path / "page", local_models(ROOT / "models"))
    asked: list[tuple[str, str, int]] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            types = {".mjs": "text/javascript", ".wasm": "application/wasm"}
            self.extensions_map = {**self.extensions_map, **types}
            super().__init__(*args, directory=str(tmp_path / "page"))

        def log_message(self, *_: object) -> None:
            asked.append((self.command, self.path, int(self.headers.get("Content-Length", 0))))

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    made = Folder(f"http://127.0.0.1:{web.server_address[1]}/", web, asked)
    yield made
    made.end()


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """One of each coding that is decoded in its own way."""
    pixels = draw_phantom(side=1024, seed=3)
    grey = Image.fromarray(pixels)
    tall = grey.crop((100, 0, 900, 1024))
    turned = Image.Exif()
    turned[0x0112] = 6
    rgb = Image.fromarray(np.dstack([pixels] * 3))
    deep = Image.fromarray(pixels.astype(np.uint16) * 13 + 40)
    made: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "grey.png": (grey, {}),
        "deep.png": (deep, {}),
        "rgb.png": (rgb, {}),
        "half.jpg": (grey, {"quality": 90}),
        "whole.jpg": (tall, {"quality": 85}),
        "colour.jpg": (rgb, {"quality": 88}),
        "turned.jpg": (grey.rotate(90), {"quality": 92, "exif": turned}),
        "odd.jpg": (grey.resize((1051, 1037)), {"quality": 80}),
    }
    for name, (image, options) in made.items():
        image.save(tmp_path / name, **options)
    return [tmp_path / name for name in made]


def _on_device(ui: Ui) -> None:
    ui.page.locator("input[name=place][value=device]").check(force=True)
    expect(ui.page.locator("#prepared")).to_contain_text("offline", timeout=60_000)
    for name in NAMES:
        ui.page.check(f'input[name=model][value="{name}"]')


def _probabilities(answer: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {
        (result["model"]["name"], finding["label"]): finding["probability"]
        for result in answer["results"]
        for finding in result["findings"]
    }


def test_the_device_gives_the_services_figures(
    opening: Opening, server: Server, films: list[Path], screenshots: Path
) -> None:
    with opening() as ui:
        ui.open()
        _on_device(ui)
        ui.add(*films)
        ui.is_read(*(film.name for film in films))
        exported = {one["file"]: one for one in ui.exported()["films"]}
        ui.shot("device", screenshots)
    for film in films:
        answer = _asked(server, film)
        here, there = _probabilities(exported[film.name]["answer"]), _probabilities(answer)
        assert here.keys() == there.keys()
        assert len(here) == 8
        worst = max(abs(here[one] - there[one]) for one in there)
        assert worst < _WITHIN, (film.name, worst)
        if film.suffix == ".png":
            assert exported[film.name]["answer"]["image"]["sha256"] == answer["image"]["sha256"]


@pytest.mark.data
def test_the_device_gives_the_services_figures_on_real_films(
    opening: Opening, server: Server, data_dir: Path
) -> None:
    kinds = (".png", ".jpg", ".jpeg")
    originals = sorted(one for one in (data_dir / "originals").iterdir() if one.suffix in kinds)
    worst: dict[str, float] = {}
    with opening() as ui:
        ui.open()
        _on_device(ui)
        ui.add(*originals)
        expect(ui.page.locator("#worklist .state-waiting")).to_have_count(0, timeout=120_000)
        expect(ui.page.locator("#worklist .state-reading")).to_have_count(0, timeout=120_000)
        exported = ui.exported()["films"]
    for one, film in zip(exported, originals, strict=True):
        reply = _reply(server, film)
        if reply.status_code == 422:
            assert one["problem"]["reasons"] == reply.json()["reasons"]
            continue
        here, there = _probabilities(one["answer"]), _probabilities(reply.json())
        worst[film.name] = max(abs(here[key] - there[key]) for key in there)
    print({name: round(value, 6) for name, value in worst.items()})
    assert len(worst) > 20
    assert max(worst.values()) < _WITHIN


def test_no_request_on_the_device_carries_a_pixel(opening: Opening, films: list[Path]) -> None:
    with opening() as ui:
        ui.open()
        _on_device(ui)
        ui.asked.clear()
        ui.add(films[0], films[3])
        ui.is_read(films[0].name, films[3].name)
        ui.finding("tuberculosis").hover()
        # A GET without a query has no room for a picture.
        assert all(one.startswith("GET ") and "?" not in one for one in ui.asked), ui.asked
        assert not [one for one in ui.asked if "/v1/" in one]
        # The same page does send, where it says that it does: the watch is no blind one.
        ui.page.locator("input[name=place][value=service]").check(force=True)
        ui.add(films[1])
        ui.is_read(films[1].name)
        assert [one for one in ui.asked if one.startswith("POST") and "/v1/predict" in one]


def test_a_dicom_film_stays_on_the_device_unread(opening: Opening, phantoms: Path) -> None:
    with opening() as ui:
        ui.open()
        _on_device(ui)
        ui.asked.clear()
        ui.add(phantoms / "film.dcm")
        expect(ui.row("film.dcm").locator(".state")).to_contain_text("stayed on this device")
        assert not [one for one in ui.asked if one.startswith("POST")]


def test_the_gate_refuses_on_the_device_what_the_service_refuses(
    opening: Opening, server: Server, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "colours.png")
    Image.fromarray(np.full((600, 600), 90, np.uint8)).save(tmp_path / "blank.png")
    Image.fromarray(draw_phantom(side=1024)).rotate(180).save(tmp_path / "turned.png")
    Image.fromarray(draw_phantom(side=256)).resize((700, 200)).save(tmp_path / "strip.png")
    films = sorted(tmp_path.glob("*.png"))
    with opening() as ui:
        ui.open()
        _on_device(ui)
        ui.add(*films)
        for film in films:
            expect(ui.row(film.name)).to_have_class(
                "state-refused" if film != films[0] else "state-refused chosen"
            )
        exported = {one["file"]: one for one in ui.exported()["films"]}
    for film in films:
        reply = _reply(server, film)
        assert reply.status_code == 422
        assert exported[film.name]["problem"]["reasons"] == reply.json()["reasons"], film.name


def test_a_plain_folder_reads_films_without_service_or_net(
    opening: Opening, folder: Folder, films: list[Path], screenshots: Path
) -> None:
    with opening(folder.address, service_workers="allow") as ui:
        ui.open()
        expect(ui.page.locator("#prepared")).to_contain_text("offline", timeout=60_000)
        folder.end()
        ui.page.reload()
        ui.page.wait_for_selector("#points input")
        ui.add(films[0])
        ui.is_read(films[0].name)
        ui.shot("offline", screenshots)
        assert ui.page.evaluate("crossOriginIsolated")
        ui.faults = [one for one in ui.faults if "sw.js" not in one and "ERR_" not in one]
    assert {(method, length) for method, _, length in folder.asked} == {("GET", 0)}
    assert all(path.split("?")[0] == path for _, path, _ in folder.asked)


def test_networks_are_quick_on_one_core(
    opening: Opening, folder: Folder, films: list[Path]
) -> None:
    with opening(folder.address) as ui:
        ui.open()
        assert not ui.page.evaluate("crossOriginIsolated")  # so it gets one thread
        times = {}
        for name in NAMES:
            expect(ui.page.locator("#prepared")).to_contain_text("offline", timeout=60_000)
            ui.page.check(f'input[name=model][value="{name}"]')
            for other in NAMES:
                if other != name:
                    ui.page.uncheck(f'input[name=model][value="{other}"]')
            measured = []
            for _ in range(4):
                ui.page.click("#clear") if ui.page.locator("#clear").is_visible() else None
                ui.add(films[0])
                ui.is_read(films[0].name)
                answer = ui.exported()["films"][0]["answer"]
                measured.append(answer["timings_ms"]["inference"])
            times[name] = min(measured)
    print(times)
    assert times["chexml-resnet50"] < 2000
    assert times["tb-mobilenetv2"] < 200


def test_a_page_without_the_runtime_says_so(
    opening: Opening, folder: Folder, tmp_path: Path
) -> None:
    about = tmp_path / "page" / "about.json"
    told = json.loads(about.read_text("utf-8"))
    told["local"]["runtime"] = False
    about.write_text(json.dumps(told))
    with opening(folder.address) as ui:
        ui.page.goto(ui.address)
        expect(ui.page.locator("#whereabouts")).to_contain_text("not installed here")


def _reply(server: Server, film: Path) -> httpx.Response:
    query = "&".join(f"model={name}" for name in NAMES)
    return httpx.post(f"{server.url}/v1/predict?{query}", content=film.read_bytes(), timeout=60)


def _asked(server: Server, film: Path) -> dict[str, Any]:
    reply = _reply(server, film)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer
