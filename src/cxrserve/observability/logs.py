"""Log lines for operators: what happened to which request id, never what the request held."""

from __future__ import annotations

import logging


def configure_logging(level: str) -> None:
    """Let our loggers speak at `level` through the handlers that BentoML set up."""
    logging.getLogger("cxrserve").setLevel(level)
    # pydicom quotes header values in its messages, and headers name patients.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
