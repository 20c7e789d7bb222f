"""Networks and operation, access for everybody, and how soon the page is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.page.conftest import Opening, Ui

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]


def test_cards_show_what_each_network_is_worth(ui: Ui, screenshots: Path) -> None:
    ui.page.click("[data-view=models]")
    card = ui.page.locator("#card-chexml-resnet50")
    expect(card.locator(".limits")).to_contain_text("children")
    card.scroll_into_view_if_needed()
    for picture in ("ROC", "Calibration"):
        image = card.locator(f'.figures img[alt^="{picture}"]')
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("(image) => image.naturalWidth") > 100
    assert float(card.locator(".latency tr:nth-child(2) td").first.inner_text()) > 0
    card.locator("summary").click()
    expect(card.locator(".prose table").first).to_be_visible()
    ui.shot("networks", screenshots)


def test_operation_counts_what_was_read(ui: Ui, phantoms: Path, screenshots: Path) -> None:
    def answered() -> int:
        tile = ui.page.locator(".tile").filter(has_text="Answered since the start")
        return int(tile.locator(".big").inner_text())

    ui.page.click("[data-view=operations]")
    before = answered()
    ui.page.click("[data-view=reading]")
    ui.add(phantoms / "chest.png")
    ui.is_read("chest.png")
    ui.page.click("[data-view=operations]")
    expect(ui.page.locator(".card").filter(has_text="Queues")).to_contain_text("triage@")
    _until(lambda: answered() == before + 1)
    ui.shot("operation", screenshots)


@pytest.mark.parametrize("theme", ["dark", "light", "contrast"])
def test_nobody_is_shut_out(ui: Ui, phantoms: Path, screenshots: Path, theme: str) -> None:
    ui.page.select_option("#theme", theme)
    _is_accessible(ui)
    ui.add(phantoms / "chest.png", phantoms / "film.dcm", phantoms / "letter.png")
    ui.is_read("chest.png", "film.dcm")
    ui.page.click(".provenance summary")
    _is_accessible(ui)
    ui.shot(f"theme-{theme}", screenshots)
    for view in ("models", "operations"):
        ui.page.click(f"[data-view={view}]")
        ui.page.wait_for_selector(f"#{view} .card")
        _is_accessible(ui)


def test_a_phone_shuts_nobody_out(opening: Opening, phantoms: Path) -> None:
    phone = {"width": 390, "height": 844}
    with opening(viewport=phone, has_touch=True, is_mobile=True) as ui:
        ui.open()
        ui.add(phantoms / "chest.png")
        ui.is_read("chest.png")
        _is_accessible(ui)


def test_the_page_is_there_within_a_second(opening: Opening) -> None:
    times = []
    for _ in range(3):
        with opening() as ui:
            started = time.monotonic()
            ui.page.goto(ui.address)
            ui.page.wait_for_selector("#points input")
            times.append(time.monotonic() - started)
            whole = ui.page.evaluate(
                "performance.getEntriesByType('resource').filter(({ name }) => "
                "/\\.(js|css|svg|webmanifest)$/.test(name))"
                ".reduce((sum, one) => sum + one.decodedBodySize, 0)"
            )
            assert whole < 100_000
    assert min(times) < 1.0, times


def _is_accessible(ui: Ui) -> None:
    found = Axe().run(ui.page)
    assert found.violations_count == 0, found.generate_report()


def _until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.2)
