"""Told what becomes of questions; makes metrics, traces and the log's lines of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cxrserve.answer import Answer, Explanation, ImageSeen
from cxrserve.errors import CxrError
from cxrserve.observability.drift import FindingStatistics
from cxrserve.observability.metrics import Metrics
from cxrserve.observability.record import ABANDONED, ANSWERED, Record, current
from cxrserve.observability.tracing import Tracing


class Telemetry:
    """Shared by all protocols.

    Args:
        findings: counts what models find; None: nobody does.
        tracing: where spans go; None: nowhere.
    """

    def __init__(
        self, findings: FindingStatistics | None = None, tracing: Tracing | None = None
    ) -> None:
        self.metrics, self._findings, self._tracing = Metrics(), findings, tracing
        if findings is not None:
            self.metrics.collect(findings.families)

    @contextmanager
    def question(self, record: Record) -> Iterator[None]:
        """Watch over one question: it ends with this block."""
        try:
            yield
            record.ended(ANSWERED)
        except CxrError as error:
            record.ended(error.code)
            raise
        finally:
            self.ended(record)

    def ended(self, record: Record) -> None:
        """A question has ended; without an outcome its caller had gone."""
        record.ended(ABANDONED)
        if self._tracing is not None:
            self._tracing.ended(record)
        self.metrics.ended(record)

    def answered(self, answer: Answer | Explanation) -> None:
        """The question that is being worked on has its answer."""
        self.metrics.saw(answer.image)
        if self._findings is not None and isinstance(answer, Answer):
            self._findings.observed(answer.results, answer.image)

    def saw(self, image: ImageSeen) -> None:
        """An image was read whose answer is given as tensors."""
        self.metrics.saw(image)

    def refused(self, error: CxrError) -> None:
        """The question that is being worked on ends with this error."""
        current().ended(error.code)
        self.metrics.refused(error)

    def close(self) -> None:
        """Send what is not sent yet."""
        if self._tracing is not None:
            self._tracing.close()
