"""What can come of a check.

Remark                 a check that does not simply pass raises one
├── Failed             the server broke a rule that the specification states
├── Differs            the specification is silent or soft here, and servers differ
├── NotOffered         the server says that it does not do this
└── NotApplicable      this model, or these options, cannot show it
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Verdict(StrEnum):
    """How a check ended; the order is that of the table's columns."""

    PASSED = "passed"
    FAILED = "failed"
    DIFFERS = "differs"
    NOT_OFFERED = "not offered"
    NOT_APPLICABLE = "not applicable"


class Remark(Exception):
    """What a check has to say.

    Args:
        expected: what the specification asks for; for the last two kinds, the reason.
        sent: the request, shortened.
        came: the answer, shortened.
    """

    verdict: ClassVar[Verdict]

    def __init__(self, expected: str, *, sent: str = "", came: str = "") -> None:
        super().__init__(expected)
        self.expected, self.sent, self.came = expected, sent, came

    def __str__(self) -> str:
        parts = {"sent": self.sent, "came": self.came, "expected": self.expected}
        if not self.sent and not self.came:
            return self.expected
        return "; ".join(f"{name} {text}" for name, text in parts.items() if text)


class Failed(Remark):
    """A rule that the specification states was broken."""

    verdict = Verdict.FAILED


class Differs(Remark):
    """Unlike other servers, or unlike what the specification calls typical; yet not forbidden."""

    verdict = Verdict.DIFFERS


class NotOffered(Remark):
    """The server refuses this cleanly, or does not list the extension."""

    verdict = Verdict.NOT_OFFERED


class NotApplicable(Remark):
    """It cannot be asked of this model, or not with these options."""

    verdict = Verdict.NOT_APPLICABLE
