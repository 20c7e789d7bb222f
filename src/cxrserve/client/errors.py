"""What can go wrong on the way to the service; what the service refuses is in `cxrserve.errors`.

CxrError
├── …                    a problem document, as the error that the service raised
├── UnreadableFile       it could not be read here; nothing was sent
├── Unreachable          no answer came
└── UnexpectedAnswer     an answer that is not the service's

`facts` of what a request raised has its `request_id` and `attempts`, and of an answer its `status`
and every other member of the problem document: `reasons`, limits, …
"""

from __future__ import annotations

from cxrserve.errors import CxrError


class UnreadableFile(CxrError):
    """A file could not be read on this side. Its path is not told: paths name patients."""

    code = "unreadable_file"


class Unreachable(CxrError):
    """The connection was refused, broke off, or brought no answer."""

    code = "unreachable"


class UnexpectedAnswer(CxrError):
    """Something else answered (a proxy), another version did, or it was another's answer."""

    code = "unexpected_answer"
