"""A check, and the catalogue that a protocol's checks are written into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from cxrserve.conformance.specification import Extension, Section

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Check(Generic[S]):
    """One thing to ask a server.

    Attributes:
        name: what is true of a server that passes.
        section: row of the table.
        source: part of the specification that says so.
        extension: asked only of servers whose metadata lists it; None for what all must do.
        run: asks; raises a `Remark` unless all is well.
    """

    name: str
    section: Section
    source: str
    extension: Extension | None
    run: Callable[[S], None]


class Catalogue(Generic[S]):
    """The checks of one protocol, in the order in which they are run."""

    def __init__(self) -> None:
        self._checks: list[Check[S]] = []

    def __iter__(self) -> Iterator[Check[S]]:
        return iter(self._checks)

    def __call__(
        self, section: Section, source: str, *, extension: Extension | None = None
    ) -> Callable[[Callable[[S], None]], Callable[[S], None]]:
        """Decorate a function: its name, with spaces, becomes the check's name."""

        def written(run: Callable[[S], None]) -> Callable[[S], None]:
            name = run.__name__.replace("_", " ").strip()
            self.add(Check(name, section, source, extension, run))
            return run

        return written

    def add(self, check: Check[S]) -> None:
        """Append a check."""
        self._checks.append(check)
