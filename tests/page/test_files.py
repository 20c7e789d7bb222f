"""The page's files: what a browser is told beside them, and that they hold to their budget."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cxrserve.page.files import STATIC, page_files
from cxrserve.page.headers import HEADERS
from tests.api.conftest import Serving
from tests.tiny_package import write_tiny_package

_OWN = [path for path in STATIC.rglob("*") if path.is_file() and "vendor" not in path.parts]
_LOADED = re.compile(r"""(?:^import .* from|^import|^export .* from) "(\.[^"]+)";""", re.MULTILINE)


async def test_every_file_comes_with_a_policy_that_lets_nothing_else_in(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving() as client:
        for name in ("", "main.js", "style/page.css", "about.json", "local/worker.js", "sw.js"):
            reply = await client.get(f"/ui/{name}")
            assert reply.status_code == 200, name
            policy = reply.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe-inline" not in policy
            assert "'unsafe-eval'" not in policy
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["cross-origin-opener-policy"] == "same-origin"
            assert reply.headers["cross-origin-embedder-policy"] == "require-corp"


async def test_a_file_that_has_not_changed_is_not_sent_again(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving() as client:
        first = await client.get("/ui/main.js")
        again = await client.get("/ui/main.js", headers={"If-None-Match": first.headers["etag"]})
        other = await client.get("/ui/main.js", headers={"If-None-Match": '"another"'})
    assert (again.status_code, again.content) == (304, b"")
    assert (other.status_code, other.content) == (200, first.content)
    assert again.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    "name", ["nothing.js", "../mount.py", "%2e%2e/mount.py", "style", "models/tiny/x.onnx"]
)
async def test_only_the_pages_own_files_are_served(
    serving: Serving, tmp_path: Path, name: str
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving() as client:
        reply = await client.get(f"/ui/{name}")
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"


async def test_the_address_without_its_slash_leads_to_the_page(
    serving: Serving, tmp_path: Path
) -> None:
    write_tiny_package(tmp_path / "models" / "tiny")
    async with serving() as client:
        reply = await client.get("/ui", follow_redirects=True)
    assert reply.url.path == "/ui/"
    assert "<title>cxrserve" in reply.text


def test_what_is_loaded_before_the_first_paint_is_below_100_kb() -> None:
    html = (STATIC / "index.html").read_text("utf-8")
    loaded = {"index.html", *re.findall(r'(?:href|src)="([\w/]+\.(?:css|js|svg))"', html)}
    left = [name for name in loaded if name.endswith(".js")]
    while left:
        name = left.pop()
        for found in _LOADED.findall((STATIC / name).read_text("utf-8")):
            one = ((STATIC / name).parent / found).resolve().relative_to(STATIC).as_posix()
            if one not in loaded:
                loaded.add(one)
                left.append(one)
    assert len(loaded) > 20
    assert sum((STATIC / name).stat().st_size for name in loaded) < 100_000


@pytest.mark.parametrize("path", _OWN, ids=lambda path: path.name)
def test_no_file_names_another_host_or_is_written_inline(path: Path) -> None:
    text = path.read_text("utf-8")
    hosts = set(re.findall(r"(?:https?:)?//([\w.-]+\.\w+)/", text)) - {"www.w3.org"}
    assert not hosts
    if path.suffix == ".html":
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
    if path.suffix == ".js":
        assert "innerHTML" not in text
        assert "eval(" not in text


def test_the_policy_in_the_page_itself_is_the_one_of_the_headers() -> None:
    html = (STATIC / "index.html").read_text("utf-8")
    written = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert written
    # A document cannot say who may frame it.
    policy = HEADERS["Content-Security-Policy"].removesuffix("; frame-ancestors 'none'")
    assert written[1] == policy


def test_files_are_known_by_their_digest(tmp_path: Path) -> None:
    (tmp_path / "one.js").write_text("1")
    (tmp_path / "left.py").write_text("not of the page")
    first = page_files(tmp_path)
    (tmp_path / "one.js").write_text("2")
    assert set(first) == {"one.js"}
    assert first["one.js"].sha256 != page_files(tmp_path)["one.js"].sha256
