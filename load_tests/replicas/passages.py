"""What HAProxy wrote of each request: at which replica it was, and how that ended."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One request, as HAProxy saw it.

    Attributes:
        at: when it ended, in s since 1970.
        request: its X-Request-ID; `-`: it had none (oip).
        protocol: http or grpc.
        replica: the last at which it was; in angle brackets: none.
        status: of HTTP, -1 if there was none. Every gRPC call that is answered has 200.
        ended: HAProxy's two letters; the first is S where the replica ended it, C the client, `-`
            nobody.
        sent_again: how often.
    """

    at: float
    request: str
    protocol: str
    replica: str
    status: int
    ended: str
    sent_again: int

    @property
    def broke(self) -> bool:
        """The replica did not answer, or not to the end."""
        return self.ended.startswith("S") or self.status in (-1, 502, 503)


def read(log: Path) -> list[Passage]:
    """All passages of a log, in its order; lines that are none are HAProxy's own words."""
    lines = log.read_text("utf-8", "replace").splitlines()
    return [_passage(json.loads(line)) for line in lines if line.startswith('{"at"')]


def served(passages: Iterable[Passage]) -> dict[str, int]:
    """Replica → requests that it answered."""
    found: dict[str, int] = {}
    for one in passages:
        if not one.broke and not one.replica.startswith("<"):
            found[one.replica] = found.get(one.replica, 0) + 1
    return dict(sorted(found.items()))


def _passage(told: dict[str, Any]) -> Passage:
    return Passage(
        at=told["at"] / 1e3,
        request=told["request"],
        protocol=told["protocol"],
        replica=told["replica"],
        status=int(told["status"]),
        ended=told["ended"],
        # "+" where it was sent to another replica in the end
        sent_again=int(told["sent_again"].lstrip("+")),
    )
