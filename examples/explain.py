"""Shows where a finding comes from: `python examples/explain.py FILE LABEL OUT.png`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from cxrserve.client import AsyncClient
from cxrserve.errors import CxrError


async def explain(file: Path, label: str, out: Path) -> None:
    """Ask for the figures and the picture at once; write the picture."""
    url = os.environ.get("CXRSERVE_URL", "http://localhost:3000")
    async with AsyncClient(url) as client:
        figures, picture = await asyncio.gather(
            client.explain(file, label), client.explain_picture(file, label)
        )
    await asyncio.to_thread(out.write_bytes, picture)
    print(f"{figures.label}: {figures.probability} (threshold {figures.threshold})")
    for box in figures.boxes or ():
        print(f"  {box.width:.0f} x {box.height:.0f} at {box.left:.0f}, {box.top:.0f}")
    print(figures.notice)


if __name__ == "__main__":
    try:
        asyncio.run(explain(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
    except CxrError as error:
        sys.exit(f"{error.detail}. {error.advice}")
