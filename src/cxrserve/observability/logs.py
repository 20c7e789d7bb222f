"""Log lines for operators: what happened to which request id, never what the request held."""

from __future__ import annotations

import logging
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

from cxrserve.observability.record import Record

# What a line of JSON is made of, beside its facts; everything else of a log record stays out.
_FIELDS = "%(levelname)s %(name)s %(message)s"
_NAMES = {"levelname": "level", "name": "logger"}


def configure_logging(level: str, form: Literal["text", "json"] = "text") -> None:
    """Let our loggers speak at `level` through the handlers that BentoML set up."""
    logging.getLogger("cxrserve").setLevel(level)
    # pydicom quotes header values in its messages, and headers name patients.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    if form == "json":
        formatter = _OneObjectALine(_FIELDS, rename_fields=_NAMES, timestamp="time")
        for name in ("", "bentoml", "uvicorn.error", "circus"):
            for handler in logging.getLogger(name).handlers:
                handler.setFormatter(formatter)


class _OneObjectALine(JsonFormatter):
    """Only what we put under `facts` is added: other libraries' extras are theirs."""

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        facts = getattr(record, "facts", {})
        plain = logging.makeLogRecord(
            {name: record.__dict__[name] for name in ("name", "levelname", "created", "exc_info")}
        )
        plain.message = record.getMessage()
        super().add_fields(log_data, plain, message_dict)
        log_data.update(facts)


def facts_of(record: Record, seconds: float, **more: Any) -> dict[str, Any]:
    """What a line about a request says beside its words, where lines are JSON."""
    facts: dict[str, Any] = {"request_id": record.request_id, "ms": round(seconds * 1e3, 1), **more}
    if record.trace_id:
        facts["trace_id"] = record.trace_id
    if record.outcome is not None:
        facts["outcome"] = record.outcome
    if record.asked_at is not None:
        facts |= {"class": record.priority, "model": record.model, "engine": record.engine}
        stages: dict[str, float] = {}
        for stage in record.stages:
            # Of models side by side the one that took longest.
            stages[stage.name] = max(stages.get(stage.name, 0.0), round(stage.seconds * 1e3, 1))
        facts["stages_ms"] = stages
    return facts
