"""What is known of one question, gathered on its way: metrics, traces and logs are made of it.

Whoever works on a question finds its record with `current` and notes what took how long; nothing
in it comes from the image or from what a caller wrote.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from cxrserve.batching.line import Priority

ANSWERED = "answered"
ABANDONED = "abandoned"
"""The caller went before the answer came."""
NONE, SEVERAL = "none", "several"

StageName = Literal[
    "upload", "decode_queue", "decode", "prepare", "queue", "inference", "interpret"
]
Clock = Callable[[], float]

_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class TraceParent:
    """Whose trace a question belongs to, as W3C's Trace Context has it."""

    trace_id: int
    span_id: int
    sampled: bool

    @classmethod
    def read(cls, header: str) -> TraceParent | None:
        """From the header `traceparent`; None where it is none, which is no error (W3C)."""
        found = _PARENT.fullmatch(header.strip())
        if found is None:
            return None
        trace_id, span_id, flags = (int(part, 16) for part in found.groups())
        return cls(trace_id, span_id, bool(flags & 1)) if trace_id and span_id else None


class Stage(NamedTuple):
    """One step of an answer: when it began and how long it took, in seconds of the record's clock.

    `model` and `engine` where the step was one model's; `batch`: with how many images it ran.
    """

    name: StageName
    began: float
    seconds: float
    model: str = ""
    engine: str = ""
    batch: int = 0


@dataclass(slots=True)
class Record:
    """One question.

    Attributes:
        protocol: over which it came.
        request_id: which its answer carries.
        parent: the trace that its caller named.
        clock: seconds, monotonic.
        began: when it came, on that clock.
        asked_at: when its upload was there and it was taken up.
        outcome: how it ended; None until it has.
        trace_id: of its trace, 32 hexadecimal digits; empty where it has none.
    """

    protocol: str
    request_id: str = ""
    parent: TraceParent | None = None
    clock: Clock = time.monotonic
    began: float = 0.0
    asked_at: float | None = None
    priority: str = NONE
    model: str = NONE
    engines: set[str] = field(default_factory=set)
    stages: list[Stage] = field(default_factory=list)
    outcome: str | None = None
    trace_id: str = ""

    def __post_init__(self) -> None:
        self.began = self.clock()
        if self.parent is not None:
            self.trace_id = f"{self.parent.trace_id:032x}"

    def child(self, request_id: str, protocol: str = "") -> Record:
        """The record of one of several questions that came together; from here on the current."""
        return begin(protocol or self.protocol, request_id, self.parent, self.clock)

    def of_class(self, priority: Priority) -> None:
        """It is known how urgent it is."""
        self.priority = priority.name.lower()

    def taken_up(self, priority: Priority, models: list[str]) -> None:
        """It is known who is asked: `name@version` of each."""
        self.of_class(priority)
        self.model = models[0] if len(models) == 1 else SEVERAL
        if self.asked_at is None:
            self.asked_at = self.clock()
            self.took("upload", self.began, self.asked_at - self.began)

    def took(
        self,
        stage: StageName,
        began: float,
        seconds: float,
        *,
        model: str = "",
        engine: str = "",
        batch: int = 0,
    ) -> None:
        """Note a stage; several may have one name, where several models or images were asked."""
        self.stages.append(Stage(stage, began, seconds, model, engine, batch))
        if engine:
            self.engines.add(engine)

    def ended(self, outcome: str) -> None:
        """Note how it ended; what was noted first stands."""
        if self.outcome is None:
            self.outcome = outcome

    @property
    def engine(self) -> str:
        """What ran it: one engine's name, `several`, or empty."""
        return next(iter(self.engines)) if len(self.engines) == 1 else SEVERAL * bool(self.engines)

    @property
    def seconds(self) -> float:
        """Since it was taken up; since it came where it was not."""
        return self.clock() - (self.began if self.asked_at is None else self.asked_at)


_current: ContextVar[Record] = ContextVar("record")


def begin(
    protocol: str,
    request_id: str,
    parent: TraceParent | None = None,
    clock: Clock = time.monotonic,
) -> Record:
    """A new record, which is the current one of this task and of those it starts."""
    record = Record(protocol, request_id, parent, clock)
    _current.set(record)
    return record


def current() -> Record:
    """The record of the question that is being worked on; one that nobody reads, if none is."""
    try:
        return _current.get()
    except LookupError:
        return Record("")
