"""Many files, one outcome each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field

from cxrserve.answer import Answer
from cxrserve.client.sources import NamedSource
from cxrserve.errors import CxrError

Progress = Callable[[int, int | None], None]
"""Is told how many files are done, and of how many (None: nobody knows)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one file: an answer, or an error.

    Attributes:
        index: its place among the files, from 0.
        name: what was given with it, or how its path ends; in no `repr`, for it may name a patient.
    """

    index: int
    name: str = field(repr=False)
    answer: Answer | None = field(default=None, repr=False)
    error: CxrError | None = None

    def unwrap(self) -> Answer:
        """The answer.

        Raises:
            CxrError: why there is none.
        """
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer


def answered(file: NamedSource, answer: Answer) -> Outcome:
    """The outcome of a file that was answered."""
    return Outcome(index=file.index, name=file.name, answer=answer)


def failed(file: NamedSource, error: CxrError) -> Outcome:
    """The outcome of a file that was not. Its traceback would keep the image in memory."""
    return Outcome(index=file.index, name=file.name, error=error.with_traceback(None))


class Tally:
    """Counts the files that are done, and tells."""

    def __init__(self, files: Iterable[object], progress: Progress | None) -> None:
        self._total = len(files) if isinstance(files, Sized) else None
        self._progress = progress
        self._done = 0

    def one_more(self) -> None:
        """One more is done."""
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)
