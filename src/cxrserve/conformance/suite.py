"""Runs checks, and keeps what came of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from cxrserve.conformance.checks import Check
from cxrserve.conformance.specification import Section
from cxrserve.conformance.verdicts import NotOffered, Remark, Verdict

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check. `sent`, `came` and `expected` are empty if there is nothing to say."""

    protocol: str
    section: Section
    check: str
    source: str
    verdict: Verdict
    sent: str = ""
    came: str = ""
    expected: str = ""


def run_checks(
    checks: Iterable[Check[S]], server: S, *, protocol: str, extensions: frozenset[str]
) -> Iterator[Outcome]:
    """Run the checks one after the other.

    Args:
        checks: in this order.
        server: what they ask.
        protocol: "HTTP" or "gRPC", for the report.
        extensions: those that the server lists; checks of others are not run.

    Yields:
        An outcome for each check.
    """
    for check in checks:
        verdict, remark = _ask(check, server, extensions)
        yield Outcome(
            protocol,
            check.section,
            check.name,
            check.source,
            verdict,
            *((remark.sent, remark.came, remark.expected) if remark else ()),
        )


def _ask(check: Check[S], server: S, extensions: frozenset[str]) -> tuple[Verdict, Remark | None]:
    if check.extension is not None and check.extension not in extensions:
        return Verdict.NOT_OFFERED, NotOffered(f"the server does not list {str(check.extension)!r}")
    try:
        check.run(server)
    except Remark as remark:
        return remark.verdict, remark
    return Verdict.PASSED, None
