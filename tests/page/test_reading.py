"""Films are read on the page by the service: what comes in, what is seen, what goes wrong."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Route, expect

from cxrserve.radiograph.phantom import write_phantom
from tests.acceptance.conftest import Server
from tests.page.conftest import Opening, Ui

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]


def test_dropped_films_are_read_and_shown_with_their_doubts(
    ui: Ui, phantoms: Path, screenshots: Path
) -> None:
    ui.drop(phantoms / "chest.png", phantoms / "second.jpg")
    ui.is_read("chest.png", "second.jpg")
    expect(ui.page.locator('.doubts [data-code="phantom"]')).to_contain_text("drawn phantom")
    expect(ui.page.locator(".finding").first).to_be_visible()
    expect(ui.page.locator(".caution").first).to_contain_text("age")
    expect(ui.page.locator("#count")).to_contain_text("2 of 2 read")
    expect(ui.page.locator(".thumbnail canvas")).to_have_count(2)
    ui.shot("reading", screenshots)


def test_page_api_and_command_give_the_same_numbers(ui: Ui, server: Server, phantoms: Path) -> None:
    film = phantoms / "chest.png"
    ui.add(film)
    ui.is_read("chest.png")
    shown = _findings(ui.exported()["films"][0]["answer"])
    answer = httpx.post(f"{server.url}/v1/predict?model=triage", content=film.read_bytes()).json()
    serving = os.environ.get("CXRSERVE_SERVING_PYTHON", sys.executable)
    command = [serving, "-m", "cxrserve.cli", "predict", "--json", "--model", "triage", str(film)]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert shown == _findings(answer) == _findings(json.loads(said))
    probability = next(value for label, value in shown if label == "tuberculosis")
    expect(ui.finding("tuberculosis").locator(".number")).to_have_text(f"{probability:.3f}")


def test_thresholds_of_all_points_are_ticked_and_the_chosen_one_stands_out(
    ui: Ui, server: Server, phantoms: Path
) -> None:
    points = httpx.get(f"{server.url}/v1/models/triage").json()["manifest"]["operating_points"]
    ui.add(phantoms / "chest.png")
    ui.is_read("chest.png")
    for point in ("screening", "rule_in"):
        ui.page.check(f'input[name=point][value="{point}"]')
        threshold = points[point]["pneumonia"]
        said = ui.finding("pneumonia").locator(".said")
        expect(said).to_contain_text(f"{threshold:.3f}")
        ticks = ui.finding("pneumonia").locator(".tick")
        assert ticks.count() == len(points)
        chosen = ui.finding("pneumonia").locator(".tick.in-force")
        assert (chosen.get_attribute("title") or "").endswith(f"{threshold:.3f}")


def test_the_heat_map_follows_the_finding_and_its_opacity(ui: Ui, phantoms: Path) -> None:
    ui.add(phantoms / "chest.png")
    ui.is_read("chest.png")
    ui.finding("tuberculosis").click()
    ui.page.mouse.move(5, 5)
    with_map = ui.pixels()
    ui.page.locator("#opacity").fill("0")
    bare = ui.pixels()
    assert bare != with_map
    ui.page.locator("#opacity").fill("55")
    assert ui.pixels() == with_map
    ui.finding("pneumonia").click()
    ui.page.mouse.move(5, 5)
    assert ui.pixels() not in (with_map, bare)
    ui.page.click("#show-map")
    ui.page.click("#show-boxes")
    ui.page.click("#show-lungs")
    assert ui.pixels() != bare  # the lungs' outline is gone as well


def test_the_scale_is_painted_as_the_map_is_what_speaks_against_half_as_strongly(ui: Ui) -> None:
    opacity = """(part) => {
        const bar = document.querySelector("#scale-bar");
        const at = Math.round(part * (bar.width - 1));
        return bar.getContext("2d").getImageData(at, 0, 1, 1).data[3] / 255;
    }"""
    against, weakly_for, fully_for = (ui.page.evaluate(opacity, part) for part in (0, 0.75, 1))
    assert (against, weakly_for, fully_for) == pytest.approx((0.5, 0.5, 1), abs=0.01)


def test_long_names_are_shortened_but_found_by_any_part(ui: Ui, tmp_path: Path) -> None:
    film = tmp_path / "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.png"
    write_phantom(film, side=512)
    ui.add(film)
    opener = ui.page.locator("#worklist .open")
    expect(opener).to_have_text("1.2.276.…201.850819.png")
    expect(opener).to_have_attribute("title", film.name)
    ui.page.fill("#filter", "8323329")
    expect(opener).to_be_visible()
    ui.page.fill("#filter", "no such film")
    expect(opener).to_have_count(0)


def test_lungs_and_the_cardiothoracic_ratio_are_given(ui: Ui, phantoms: Path) -> None:
    ui.add(phantoms / "chest.png")
    ui.is_read("chest.png")
    expect(ui.page.locator("[data-measurement=cardiothoracic_ratio]")).to_be_visible()
    ui.page.click("#show-map")
    outlined = ui.pixels()
    ui.page.click("#show-lungs")
    assert ui.pixels() != outlined


def test_several_networks_stand_side_by_side(ui: Ui, phantoms: Path, screenshots: Path) -> None:
    ui.page.select_option("#theme", "dark")
    ui.page.check('input[name=model][value="tb-mobilenetv2"]')
    ui.add(phantoms / "film.dcm", phantoms / "chest.png", phantoms / "second.jpg")
    ui.is_read("film.dcm", "chest.png", "second.jpg")
    expect(ui.page.locator(".result h3").filter(has_text="tb-mobilenetv2")).to_be_visible()
    ui.page.locator('[data-finding="tb-mobilenetv2|tuberculosis"]').click()
    ui.shot("page", screenshots)
    ui.page.click("#compare")
    expect(ui.page.locator(".pane")).to_have_count(2)
    ui.shot("side-by-side", screenshots)
    ui.page.click("#compare")
    expect(ui.page.locator(".pane")).to_have_count(1)


def test_provenance_names_model_digest_and_times(ui: Ui, server: Server, phantoms: Path) -> None:
    digest = httpx.get(f"{server.url}/v1/models/triage").json()["digest"]
    ui.add(phantoms / "chest.png")
    ui.is_read("chest.png")
    ui.page.click(".provenance summary")
    expect(ui.page.locator(f'[data-digest="{digest}"]')).to_be_visible()
    expect(ui.page.locator("[data-pair=time]")).to_contain_text("decoding")
    expect(ui.page.locator(".provenance")).to_contain_text("Not a medical device")


def test_a_dicom_film_is_windowed_by_dragging_without_being_sent_again(
    ui: Ui, phantoms: Path, screenshots: Path
) -> None:
    ui.add(phantoms / "film.dcm")
    ui.is_read("film.dcm")
    window = ui.page.locator("#window")
    expect(window).to_contain_text("W")
    sent = _sent(ui)
    before, said = ui.pixels(), window.inner_text()
    box = ui.page.locator("#panes canvas").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    ui.page.mouse.move(x, y)
    ui.page.mouse.down()
    ui.page.mouse.move(x - 150, y + 60, steps=6)
    ui.page.mouse.up()
    ui.page.mouse.move(5, 5)
    assert ui.pixels() != before
    assert window.inner_text() != said
    assert _sent(ui) == sent
    ui.shot("dicom-window", screenshots)
    ui.page.click("#window-reset")
    assert window.inner_text() == said
    assert ui.pixels() == before


def test_zoom_pan_and_reset(ui: Ui, phantoms: Path) -> None:
    ui.add(phantoms / "chest.png")
    ui.is_read("chest.png")
    whole = ui.pixels()
    ui.page.locator("#panes canvas").hover()
    ui.page.mouse.wheel(0, -300)
    zoomed = ui.pixels()
    assert zoomed != whole
    ui.page.mouse.down()
    ui.page.mouse.move(600, 500, steps=4)
    ui.page.mouse.up()
    assert ui.pixels() not in (zoomed, whole)
    ui.page.click("#reset")
    expect(ui.page.locator("#zoom")).to_have_text("100 %")
    assert ui.pixels() == whole


def test_everything_is_done_from_the_keyboard(ui: Ui, phantoms: Path) -> None:
    ui.add(phantoms / "chest.png", phantoms / "second.jpg")
    ui.is_read("chest.png", "second.jpg")
    keys = ui.page.keyboard
    keys.press("j")
    expect(ui.row("second.jpg")).to_contain_class("chosen")
    keys.press("k")
    expect(ui.row("chest.png")).to_contain_class("chosen")
    first = ui.page.locator("button.finding[aria-pressed=true]").get_attribute("data-finding")
    keys.press("n")
    assert (
        ui.page.locator("button.finding[aria-pressed=true]").get_attribute("data-finding") != first
    )
    shown = ui.pixels()
    keys.press("h")
    assert ui.pixels() != shown
    keys.press("h")
    keys.press("+")
    expect(ui.page.locator("#zoom")).to_have_text("125 %")
    ui.page.locator("#panes canvas").focus()
    zoomed = ui.pixels()
    keys.press("ArrowRight")
    assert ui.pixels() != zoomed
    keys.press("0")
    expect(ui.page.locator("#zoom")).to_have_text("100 %")
    keys.press("?")
    expect(ui.page.locator("#keys")).to_be_visible()
    keys.press("Escape")
    _tab_to(ui, "#as-csv")
    with ui.page.expect_download():
        keys.press("Enter")


def test_twenty_films_with_a_bad_one_are_read_but_for_that_one(
    ui: Ui, phantoms: Path, tmp_path: Path, screenshots: Path
) -> None:
    films = [tmp_path / f"film-{seed:02}.jpg" for seed in range(19)]
    for seed, film in enumerate(films):
        write_phantom(film, seed=seed, side=512)
    ui.drop(*films[:7], phantoms / "letter.png", *films[7:])
    ui.is_read(*(film.name for film in films))
    bad = ui.row("letter.png")
    expect(bad.locator(".state")).to_contain_text("cannot be read")
    expect(ui.page.locator("#count")).to_contain_text("19 of 20 read")
    ui.page.select_option("#sort", "triage|tuberculosis")
    figures = ui.page.locator("#worklist .leading .number").all_inner_texts()
    assert [float(one) for one in figures] == sorted(map(float, figures), reverse=True)
    ui.shot("worklist", screenshots)
    ui.page.fill("#filter", "film-07")
    assert ui.page.locator("#worklist tbody tr").count() == 1


def test_exports_hold_every_finding_and_no_formula(ui: Ui, tmp_path: Path) -> None:
    film = tmp_path / "=1+1.png"
    write_phantom(film, side=512)
    ui.add(film)
    ui.is_read("=1+1.png")
    with ui.page.expect_download() as saving:
        ui.page.click("#as-csv")
    with Path(saving.value.path()).open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    answer = ui.exported()["films"][0]["answer"]
    assert [(row["finding"], float(row["probability"])) for row in rows] == _findings(answer)
    assert {row["file"] for row in rows} == {"'=1+1.png"}
    assert all("Research use only" in row["notice"] for row in rows)


def test_the_report_is_one_page_and_says_research_use(
    ui: Ui, phantoms: Path, screenshots: Path
) -> None:
    # Not a function to wait for: playwright would evaluate it, which the page's policy forbids.
    ui.page.add_init_script(
        "window.print = () => { document.documentElement.dataset.printed = 'true'; }"
    )
    ui.open()
    ui.add(phantoms / "chest.png")
    ui.is_read("chest.png")
    ui.page.click("#as-report")
    ui.page.wait_for_selector("html[data-printed]")
    report = ui.page.locator("#report")
    ui.page.emulate_media(media="print")
    expect(report.locator("footer")).to_contain_text("Research use only")
    expect(report.locator("tbody tr")).to_have_count(3)
    ui.page.screenshot(path=screenshots / "report.png")
    paper = ui.page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) == 1
    assert len(paper) > 20_000  # the film is on it
    ui.page.emulate_media(media="screen")
    ui.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    expect(report).to_be_hidden()


def test_a_refused_film_says_why_and_is_read_when_insisted_on(ui: Ui, tmp_path: Path) -> None:
    film = tmp_path / "thumbnail.png"
    write_phantom(film, side=128)
    Image.open(film).resize((100, 100)).save(film)
    ui.add(film)
    expect(ui.row("thumbnail.png").locator(".state")).to_contain_text("too small to read")
    ui.row("thumbnail.png").get_by_role("button", name="Read anyway").click()
    ui.is_read("thumbnail.png")
    expect(ui.page.locator('.doubts .reason[data-code="too_small"]')).to_be_visible()


def test_a_film_can_be_cancelled_and_retried(ui: Ui, phantoms: Path) -> None:
    held: list[Route] = []
    ui.page.route("**/v1/predict*", lambda route: held.append(route))  # noqa: PLW0108 - it is marked
    ui.add(phantoms / "chest.png")
    row = ui.row("chest.png")
    row.get_by_role("button", name="Cancel").click()
    expect(row.locator(".state")).to_have_text("cancelled")
    ui.page.unroute("**/v1/predict*")
    row.get_by_role("button", name="Retry").click()
    ui.is_read("chest.png")


def test_a_phone_shows_everything_without_scrolling_sideways(
    opening: Opening, phantoms: Path, screenshots: Path
) -> None:
    phone = {"width": 390, "height": 844}
    with opening(viewport=phone, device_scale_factor=2, has_touch=True, is_mobile=True) as ui:
        ui.open()
        ui.add(phantoms / "chest.png")
        ui.is_read("chest.png")
        wide = ui.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= phone["width"]
        expect(ui.page.locator('label[for="camera"]')).to_be_visible()
        ui.shot("phone", screenshots)
        ui.page.screenshot(path=screenshots / "phone-whole.png", full_page=True)


def _findings(answer: dict[str, Any]) -> list[tuple[str, float]]:
    return [
        (finding["label"], finding["probability"])
        for result in answer["results"]
        for finding in result["findings"]
    ]


def _sent(ui: Ui) -> int:
    return sum(one.startswith("POST") for one in ui.asked)


def _tab_to(ui: Ui, wanted: str) -> None:
    for _ in range(60):
        if ui.page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
            return
        ui.page.keyboard.press("Tab")
    pytest.fail(f"{wanted} is not reached with Tab")
