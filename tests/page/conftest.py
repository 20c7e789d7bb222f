"""The page in Debian's Chromium, before the real service."""

from __future__ import annotations

import base64
import json
import mimetypes
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from cxrserve.page.files import page_files
from cxrserve.page.vendor import RUNTIME_FILES
from cxrserve.radiograph.phantom import write_phantom
from tests.acceptance.conftest import Server, kill, start_server
from tests.api.conftest import serving

__all__ = ["serving"]

# A closed network is no reason to try: Chromium would look up its maker's hosts at every start.
_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_PATIENCE_MS = 30_000
_DROP = """
    async ([name, type, data]) => {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        (window.dropped ??= new DataTransfer()).items.add(new File([bytes], name, { type }));
    }
"""
_LET_GO = """
    () => {
        const target = document.querySelector("#drop");
        const drag = { dataTransfer: window.dropped, bubbles: true, cancelable: true };
        for (const kind of ["dragover", "drop"]) target.dispatchEvent(new DragEvent(kind, drag));
        delete window.dropped;
    }
"""


class Ui:
    """What a person does on the page, and sees."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.faults: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(_PATIENCE_MS)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on("request", lambda request: self.asked.append(f"{request.method} {request.url}"))

    def _heard(self, kind: str, text: str) -> None:
        # A refusal is an answer; the browser calls it an error all the same.
        if kind == "error" and "Failed to load resource" not in text:
            self.faults.append(text)

    def open(self) -> Ui:
        self.page.goto(self.address)
        self.page.wait_for_selector("html[data-ready]")
        self.page.wait_for_selector("#asked input, #points input")
        return self

    def add(self, *files: Path) -> None:
        self.page.set_input_files("#picker", list(files))

    def drop(self, *files: Path) -> None:
        for file in files:
            kind = mimetypes.guess_type(file.name)[0] or ""
            data = base64.b64encode(file.read_bytes()).decode()
            self.page.evaluate(_DROP, [file.name, kind, data])
        self.page.evaluate(_LET_GO)

    def row(self, name: str) -> Locator:
        return self.page.locator("#worklist tbody tr").filter(has_text=name)

    def is_read(self, *names: str) -> None:
        for name in names:
            figure = self.row(name).locator(".leading .number")
            expect(figure).to_be_visible(timeout=_PATIENCE_MS)

    def finding(self, label: str) -> Locator:
        return self.page.locator(f'button.finding[data-finding$="|{label}"]').first

    def exported(self) -> dict[str, Any]:
        with self.page.expect_download() as saving:
            self.page.click("#as-json")
        whole: dict[str, Any] = json.loads(Path(saving.value.path()).read_text("utf-8"))
        return whole

    def pixels(self) -> str:
        """The film as it is shown: its canvas, as a data URL."""
        self.page.wait_for_timeout(150)
        shown: str = self.page.evaluate('document.querySelector("#panes canvas").toDataURL()')
        return shown

    def shot(self, name: str, folder: Path) -> Path:
        path = folder / f"{name}.png"
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=path)
        return path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("page") / "service.log")
    yield running
    try:
        running.stop()
    finally:
        kill(running)


# Not for the whole session: playwright's loop runs in this thread, where async tests want theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        yield launched
        launched.close()


Opening = Callable[..., AbstractContextManager[Ui]]


@pytest.fixture
def opening(browser: Browser, server: Server) -> Opening:
    """Opens the page in a window of its own; nothing may go wrong on it, nor leave its host."""

    @contextmanager
    def opened(address: str | None = None, **options: Any) -> Iterator[Ui]:
        settings = {"service_workers": "block", "viewport": {"width": 1440, "height": 900}}
        context: BrowserContext = browser.new_context(**{**settings, **options})
        ui = Ui(context.new_page(), address or f"{server.url}/ui/")
        try:
            yield ui
            host = httpx.URL(ui.address).netloc.decode()
            outside = [one for one in ui.asked if f"//{host}/" not in one and "blob:" not in one]
            assert not outside
            assert not ui.faults
        finally:
            context.close()

    return opened


@pytest.fixture
def ui(opening: Opening) -> Iterator[Ui]:
    with opening() as opened:
        yield opened.open()


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of phantoms: PNG, JPEG, DICOM, and a file that is none."""
    folder = tmp_path_factory.mktemp("phantoms")
    for seed, name in enumerate(("chest.png", "second.jpg", "film.dcm")):
        write_phantom(folder / name, seed=seed, side=1024)
    (folder / "letter.png").write_bytes(b"\x89PNG\r\n\x1a\n is no picture")
    return folder


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go; CXRSERVE_SCREENSHOTS keeps them."""
    kept = os.environ.get("CXRSERVE_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def web_runtime() -> None:
    """ONNX Runtime Web; tests of reading on the device are skipped without it."""
    if not set(RUNTIME_FILES) <= set(page_files()):
        pytest.skip("ONNX Runtime Web is not here (make page)")
