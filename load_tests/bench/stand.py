"""Where servers are run: each started, found to give the network's answers, and ended."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from load_tests.bench.exchange import BadResponse
from load_tests.bench.processes import NotStarted, Pinning, output_of
from load_tests.bench.server import ROOT, Probabilities, Server
from load_tests.bench.session import Disagrees, Session, session
from load_tests.bench.subject import Subject

Tell = Callable[[str], None]


class Stand:
    """Runs servers on one subject, one at a time.

    Args:
        subject: what they serve.
        pinning: where they and this process run.
        tell: called as each step begins.
        tolerance: largest difference of a probability to the network's own.
    """

    def __init__(self, subject: Subject, pinning: Pinning, tell: Tell, *, tolerance: float) -> None:
        self.subject, self.tell = subject, tell
        self._pinning, self._tolerance = pinning, tolerance
        self._expected: list[list[Probabilities]] = []
        self.differences: dict[str, float] = {}
        """Server → largest difference of a probability to the network's own."""
        self.failures: dict[str, str] = {}
        """Server → why a round of it gave no figures, where one gave none."""
        self.prepared: dict[str, str] = {}
        """Server → what came of its preparation."""
        self.engines: dict[str, str] = {}
        """Server of ours → what runs the network, as it says itself."""

    @property
    def cores(self) -> int:
        """How many a server may use."""
        return self._pinning.server_cores

    @asynccontextmanager
    async def asked(self, server: Server, *, slo_ms: float) -> AsyncIterator[Session]:
        """A session whose answers were found to be the network's.

        Raises:
            NotStarted: the server did not become ready.
            Disagrees: they are not.
        """
        if not self._expected:
            await self._look_up_expected()
        if server.prepare is not None and server.name not in self.prepared:
            self.tell(f"{server.name}: preparing")
            self.prepared[server.name] = await server.prepare(self.subject, self._pinning)
        async with session(server, self.subject, self._pinning, slo_ms=slo_ms) as asked:
            seen = await asked.answers()
            difference = min(largest_difference(seen, one) for one in self._expected)
            self.differences[server.name] = max(self.differences.get(server.name, 0.0), difference)
            if difference > self._tolerance:
                raise Disagrees(f"a probability differs by {difference:.4f} from the network's own")
            if server.tells:
                detail = json.loads(await asked.get(f"/v1/models/{self.subject.model}"))
                self.engines[server.name] = detail["engine"]
            yield asked

    @contextmanager
    def noting_failure(self, name: str) -> Iterator[None]:
        """One server that fails must not cost the others their figures; the result names it."""
        try:
            yield
        except (NotStarted, Disagrees, BadResponse, OSError) as error:
            self.failures[name] = f"{type(error).__name__}: {error}"

    async def offline(self, seconds: float, *, gate: bool = False) -> dict[str, Any]:
        """What `offline.py` prints; with `gate` it inspects every image, as `ours` does."""
        command = [str(ROOT / ".venv" / "bin" / "python"), "-m", "load_tests.bench.offline"]
        command += ["--models-dir", str(self.subject.models_dir), "--model", self.subject.model]
        command += ["--images", str(self.subject.images_dir), "--seconds", str(seconds)]
        command += ["--cores", str(self.cores), *(["--gate"] if gate else [])]
        answer: dict[str, Any] = json.loads(
            await output_of(self._pinning.command(command), folder=ROOT)
        )
        return answer

    async def _look_up_expected(self) -> None:
        self.tell("the network's own answers")
        seen = (await self.offline(0))["probabilities"]
        self._expected = [seen["scaled"], seen["whole"]]


def largest_difference(seen: Sequence[Probabilities], expected: Sequence[Probabilities]) -> float:
    """The largest difference of a probability, over all images.

    Raises:
        Disagrees: they are not of the same labels.
    """
    largest = 0.0
    for row, other in zip(seen, expected, strict=True):
        if len(row) != len(other):
            raise Disagrees(f"{len(row)} of {len(other)} labels were given")
        for one, another in zip(row, other, strict=True):
            if one is not None and another is not None:
                largest = max(largest, abs(one - another))
    return largest
