"""Who calls, and how long they wait."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import grpc.aio

from cxrserve.oip.inference import Caller

Context = grpc.aio.ServicerContext[Any, Any]

# gRPC tells of a deadline in hundreds of years where there is none.
_NO_DEADLINE_S = 1e8
# As long as REST's deadline_ms may be.
_LONGEST_S = 600.0


def caller_of(context: Context) -> Caller:
    """The caller's address, and the time that is left of the deadline."""
    left_s = context.time_remaining()
    deadline_ms = None
    if left_s is not None and left_s < _NO_DEADLINE_S:
        deadline_ms = min(max(left_s, 1e-3), _LONGEST_S) * 1e3
    return Caller(client=_host(context.peer()), deadline_ms=deadline_ms)


def _host(peer: str) -> str:
    """`ipv4:10.0.0.1:5000` as HTTP has it: the port is another for each connection."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")
