"""The pictures of a model's card."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.api.conftest import Serving
from tests.tiny_package import write_tiny_package


async def test_the_pictures_of_a_card_are_served_and_nothing_else(
    serving: Serving, tmp_path: Path
) -> None:
    package, picture = tmp_path / "models" / "tiny", b"\x89PNG made up"
    package.mkdir(parents=True)
    (package / "roc.png").write_bytes(picture)
    (package / "unlisted.png").write_bytes(b"not in the manifest")
    write_tiny_package(package, files={"roc.png": hashlib.sha256(picture).hexdigest()})
    async with serving() as client:
        assert (await client.get("/v1/models/tiny")).json()["plots"] == ["roc.png"]
        answer = await client.get("/v1/models/tiny/plots/roc.png")
        assert (answer.headers["content-type"], answer.content) == ("image/png", picture)
        for wrong in ("unlisted.png", "model.onnx", "..%2Fmodel.yaml"):
            refused = await client.get(f"/v1/models/tiny/plots/{wrong}")
            assert refused.status_code == 404, wrong
            assert refused.headers["content-type"] == "application/problem+json"
        (package / "roc.png").write_bytes(b"altered")
        assert (await client.get("/v1/models/tiny/plots/roc.png")).status_code == 500
