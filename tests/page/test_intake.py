"""The other ways in: the clipboard, a phone's camera, a whole folder; and two fingers on a film."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from cxrserve.radiograph.phantom import write_phantom
from tests.page.conftest import Opening

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

_PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
_COPY = """
    async (data) => {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        const picture = new Blob([bytes], { type: "image/png" });
        await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
    }
"""


def test_a_picture_from_the_clipboard_is_read(opening: Opening, phantoms: Path) -> None:
    with opening(permissions=["clipboard-read", "clipboard-write"]) as ui:
        ui.open()
        picture = base64.b64encode((phantoms / "chest.png").read_bytes()).decode()
        ui.page.evaluate(_COPY, picture)
        ui.page.keyboard.press("Control+V")
        expect(ui.page.locator("#worklist tbody tr")).to_have_count(1)
        ui.is_read("image.png")


def test_text_in_the_clipboard_adds_nothing(opening: Opening, phantoms: Path) -> None:
    with opening(permissions=["clipboard-read", "clipboard-write"]) as ui:
        ui.open()
        ui.add(phantoms / "chest.png")
        ui.page.evaluate("navigator.clipboard.writeText('chest')")
        ui.page.focus("#filter")
        ui.page.keyboard.press("Control+V")
        expect(ui.page.locator("#filter")).to_have_value("chest")
        expect(ui.page.locator("#worklist tbody tr")).to_have_count(1)


def test_a_photo_from_the_phones_camera_is_read(opening: Opening, tmp_path: Path) -> None:
    photo = tmp_path / "IMG_0001.jpg"
    write_phantom(photo, side=1024)
    with opening(**_PHONE) as ui:
        ui.open()
        camera = ui.page.locator("#camera")
        expect(camera).to_have_attribute("capture", "environment")  # the camera on the back
        expect(camera).to_have_attribute("accept", "image/*")
        with ui.page.expect_file_chooser() as choosing:
            ui.page.tap('label[for="camera"]')
        choosing.value.set_files(photo)
        ui.is_read("IMG_0001.jpg")


def test_a_dropped_folder_is_the_films_in_it(
    opening: Opening, phantoms: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    (folder / "series").mkdir(parents=True)
    shutil.copy(phantoms / "chest.png", folder)
    shutil.copy(phantoms / "film.dcm", folder / "series")
    with opening() as ui:
        ui.open()
        browser = ui.page.context.new_cdp_session(ui.page)
        box = ui.page.locator("#drop").bounding_box()
        assert box
        drag = {
            "x": box["x"] + box["width"] / 2,
            "y": box["y"] + box["height"] / 2,
            "data": {"items": [], "files": [str(folder)], "dragOperationsMask": 1},
        }
        for kind in ("dragEnter", "dragOver", "drop"):
            browser.send("Input.dispatchDragEvent", {"type": kind, **drag})
        expect(ui.page.locator("#worklist tbody tr")).to_have_count(2)
        ui.is_read("chest.png", "film.dcm")


def test_two_fingers_zoom_and_one_moves(opening: Opening, phantoms: Path) -> None:
    with opening(**_PHONE) as ui:
        ui.open()
        ui.add(phantoms / "chest.png")
        ui.is_read("chest.png")
        film = ui.page.locator("#panes canvas")
        film.scroll_into_view_if_needed()
        box = film.bounding_box()
        assert box
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        browser = ui.page.context.new_cdp_session(ui.page)

        def touch(kind: str, *fingers: tuple[float, float]) -> None:
            points = [{"x": x + dx, "y": y + dy, "id": at} for at, (dx, dy) in enumerate(fingers)]
            browser.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        whole = ui.pixels()
        touch("touchStart", (-30, 0))
        touch("touchStart", (-30, 0), (30, 0))
        for apart in (40, 50, 60):
            touch("touchMove", (-apart, 0), (apart, 0))
        touch("touchEnd")
        expect(ui.page.locator("#zoom")).to_have_text("200 %")
        zoomed = ui.pixels()
        assert zoomed != whole
        touch("touchStart", (0, 0))
        touch("touchMove", (40, 30))
        touch("touchEnd")
        expect(ui.page.locator("#zoom")).to_have_text("200 %")
        assert ui.pixels() not in (zoomed, whole)
        assert ui.page.evaluate("visualViewport.scale") == 1  # the film is zoomed, not the page
