"""A service that others flood, and one that is killed and comes back: what the page makes of it."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Request, expect

from cxrserve.radiograph.phantom import write_phantom
from tests.acceptance.conftest import Server, kill, start_server
from tests.page.conftest import Opening, Ui

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

CLASSES = ("stat", "urgent", "routine")
# The slowest here: a queue is soon there, and stays.
SLOW = "nih14-densenet121"
PATIENCE_S = 120
_CLIENTS = 12


def test_operation_shows_who_waits_by_class(
    ui: Ui, server: Server, phantoms: Path, screenshots: Path
) -> None:
    ui.page.click("[data-view=operations]")
    row = ui.page.locator("#operations tr").filter(has_text=f"{SLOW}@")
    expect(row).to_have_count(1)
    read_before, answered = _figures(ui)["Read"], Counter[int]()
    for one in CLASSES:
        with _flooded(server, phantoms / "second.jpg", classes=(one,)) as ended:
            _until(ui, partial(_somebody_waits, ui, one))
            ui.shot(f"operation-{one}", screenshots)
        answered += ended
    _until(ui, lambda: _figures(ui)["Read"] == read_before + answered[200])
    assert [_figures(ui)[f"Waiting: {one}"] for one in CLASSES] == [0, 0, 0]
    assert _figures(ui)["Films a batch"] >= 1


def test_engines_of_one_network_are_counted_together(ui: Ui) -> None:
    def waiting(engine: str, *counts: int) -> str:
        return "".join(
            f'cxrserve_queue_requests{{model="a@1",engine="{engine}",class="{one}"}} {count}\n'
            for one, count in zip(CLASSES, counts, strict=True)
        )

    def ran(engine: str, images: int, seconds: float, size: int) -> str:
        of = f'model="a@1",engine="{engine}"'
        return (
            f'cxrserve_images_total{{{of},outcome="answered"}} {images}\n'
            f'cxrserve_image_seconds_total{{{of},in="queue"}} {seconds}\n'
            f'cxrserve_image_seconds_total{{{of},in="engine"}} {2 * seconds}\n'
            f'cxrserve_batches_total{{{of},size="{size}"}} {images // size}\n'
        )

    told = waiting("onnxruntime", 0, 1, 5) + waiting("triton", 2, 3, 7)
    told += ran("onnxruntime", 10, 0.5, 1) + ran("triton", 40, 0.5, 4)
    ui.page.route("**/metrics", lambda route: route.fulfill(body=told, content_type="text/plain"))
    ui.page.click("[data-view=operations]")
    cells = ui.page.locator("#operations tbody").first.locator("tr")
    expect(cells).to_have_count(1)
    expect(cells.locator("td")).to_have_text(["2", "4", "12", "50", "0", "20.0", "40.0", "2.50"])
    tile = ui.page.locator(".tile").filter(has_text="2 stat, 4 urgent, 12 routine")
    expect(tile.locator(".big")).to_have_text("18")


def test_an_overloaded_service_is_asked_again_when_it_said(
    opening: Opening, phantoms: Path, tmp_path: Path, screenshots: Path
) -> None:
    films = [tmp_path / f"film-{seed}.jpg" for seed in range(4)]
    for seed, film in enumerate(films):
        write_phantom(film, seed=seed, side=512 + 32 * seed)
    tiny = start_server(tmp_path / "service.log", CXRSERVE_QUEUE_SIZE="2", CXRSERVE_PROCESSORS="1")
    try:
        with opening(f"{tiny.url}/ui/") as ui:
            ui.open()
            asked: list[Request] = []
            ui.page.on("requestfinished", lambda one: asked.append(one))  # noqa: PLW0108 - it is marked
            with _flooded(tiny, phantoms / "second.jpg", insist=True):
                # None of the page's films gets in while its place is always taken.
                ui.page.wait_for_timeout(1000)
                ui.add(phantoms / "film.dcm", *films)
                busy = ui.page.locator('.state[data-state="busy"]')
                expect(busy.first).to_contain_text("again in")
                ui.shot("service-busy", screenshots)
                ui.page.wait_for_timeout(4000)
            for name in ("film.dcm", *(film.name for film in films)):
                expect(ui.row(name).locator(".leading .number")).to_be_visible(
                    timeout=1000 * PATIENCE_S
                )
            # What the service shows is there in the end as well.
            expect(ui.page.locator("#window")).to_contain_text("W")
            expect(ui.page.locator(".thumbnail canvas")).to_have_count(5)
            expect(ui.page.locator("#count")).to_contain_text("5 of 5 read")
            _each_came_back_when_told(asked)
    finally:
        kill(tiny)


def test_nothing_is_lost_when_the_service_is_killed_and_started_again(
    opening: Opening, phantoms: Path, tmp_path: Path, screenshots: Path
) -> None:
    films = [tmp_path / f"film-{seed}.jpg" for seed in range(6)]
    for seed, film in enumerate(films):
        write_phantom(film, seed=seed, side=1024)
    first = start_server(tmp_path / "first.log")
    again: Server | None = None
    try:
        with opening(f"{first.url}/ui/") as ui:
            ui.open()
            ui.add(phantoms / "chest.png")
            ui.is_read("chest.png")
            ui.add(*films, phantoms / "film.dcm")
            kill(first)
            notice = ui.page.locator("#notice")
            expect(notice).to_contain_text("nothing is lost")
            expect(ui.row("film.dcm").locator(".state")).to_contain_text("held")
            expect(ui.page.locator("#worklist tbody tr")).to_have_count(8)
            expect(ui.row("chest.png").locator(".number")).to_be_visible()
            ui.row("film.dcm").get_by_role("button", name="film.dcm", exact=True).click()
            expect(ui.page.locator("#empty")).to_contain_text("as soon as it can")
            ui.shot("service-gone", screenshots)
            again = start_server(tmp_path / "again.log", port=httpx.URL(first.url).port)
            for name in ("film.dcm", *(film.name for film in films)):
                expect(ui.row(name).locator(".leading .number")).to_be_visible(
                    timeout=1000 * PATIENCE_S
                )
            expect(notice).to_be_hidden()
            expect(ui.page.locator("#count")).to_contain_text("8 of 8 read")
            expect(ui.page.locator("#window")).to_contain_text("W")
    finally:
        for one in (first, again):
            if one is not None:
                kill(one)


@contextmanager
def _flooded(
    server: Server, film: Path, *, classes: tuple[str, ...] = CLASSES, insist: bool = False
) -> Iterator[Counter[int]]:
    """Others ask for this film all the time, in these classes; counts how they were answered.

    Those that insist come back at once when they are refused, whatever they are told.
    """
    data, over, answered = film.read_bytes(), threading.Event(), Counter[int]()

    def client(priority: str) -> None:
        with server.client() as asking:
            query = {"model": SLOW, "priority": priority}
            while not over.is_set():
                reply = asking.post("/v1/predict", params=query, content=data)
                answered[reply.status_code] += 1
                if reply.status_code == 429:
                    over.wait(0.02 if insist else float(reply.headers["Retry-After"]))

    threads = [
        threading.Thread(target=client, args=(priority,))
        for _, priority in zip(range(_CLIENTS), itertools.cycle(classes), strict=False)
    ]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _each_came_back_when_told(asked: list[Request]) -> None:
    """No film was sent again before its `Retry-After` was over; some were told to wait."""
    by_film: dict[str, list[Request]] = {}
    for request in asked:
        if request.method == "POST" and "/v1/predict" in request.url:
            by_film.setdefault(request.all_headers()["content-length"], []).append(request)
    refused = 0
    for requests in by_film.values():
        requests.sort(key=lambda one: one.timing["startTime"])
        for sooner, later in itertools.pairwise(requests):
            told = sooner.response()
            assert told is not None
            assert told.status == 429
            refused += 1
            waited_ms = later.timing["startTime"] - sooner.timing["startTime"]
            # The two clocks that these are taken from may differ by a little.
            assert waited_ms > 1000 * float(told.headers["retry-after"]) - 50
    assert len(by_film) == 5
    assert refused


def _somebody_waits(ui: Ui, priority: str) -> bool:
    return _figures(ui)[f"Waiting: {priority}"] > 0


def _figures(ui: Ui) -> dict[str, float]:
    """The row of the slow network in the operation view, by the head of the column."""
    heads, cells = ui.page.evaluate(
        """(model) => {
            const table = document.querySelector("#operations table");
            const row = [...table.tBodies[0].rows].find((one) => one.textContent.includes(model));
            const words = (cells) => [...cells].map((one) => one.textContent);
            return [words(table.tHead.rows[0].cells), words(row.cells)];
        }""",
        SLOW,
    )
    return {head: float(cell or 0) for head, cell in list(zip(heads, cells, strict=True))[1:]}


def _until(ui: Ui, holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at
        ui.page.wait_for_timeout(200)
