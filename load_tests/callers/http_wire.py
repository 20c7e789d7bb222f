# mypy: disable-error-code="import-untyped"
"""HTTP for callers: connections that are kept, and nothing that is sent twice behind their back.

Python's own client, on sockets that gevent has patched: it never asks again by itself, which would
hide a lost answer; it gives a batch's lines as they come; and an answer that comes before the
upload is through can be read.
"""

from __future__ import annotations

import http.client
import json
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import gevent

from load_tests.callers import came
from load_tests.callers.came import Came
from load_tests.callers.checking import NoAnswer, seen_in_json
from load_tests.callers.events import Outcome
from load_tests.callers.films import Film

# Less than servers and proxies keep idle connections (uvicorn: 5 s).
_MOST_IDLE_S = 2.0
_BOUNDARY = "film-after-film"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a film is asked about.

    Attributes:
        request: id, which comes back.
        deadline_ms: told to the service.
        limit_s: how long the caller waits in all.
    """

    request: str
    priority: str
    deadline_ms: float
    limit_s: float


class HttpWire:
    """Asks one service over HTTP.

    Args:
        base_url: `http://host:port`.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not an http:// address: {base_url!r}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []

    def predict(self, film: Film, terms: Terms) -> Came:
        """Ask `/v1/predict` about one film."""
        headers = {"Content-Type": film.content_type, "X-Request-ID": terms.request}
        try:
            with (
                gevent.Timeout(terms.limit_s, _Silent),
                self._posted("/v1/predict", film.data, headers, terms) as response,
            ):
                body = response.read()
        except _Silent:
            return came.silent(terms.limit_s)
        except (OSError, http.client.HTTPException) as error:
            return came.broken(type(error).__name__)
        return _read(response, body)

    def predict_batch(
        self, films: Sequence[Film], terms: Terms, each: Callable[[BatchLine], None]
    ) -> Came:
        """Ask `/v1/predict/batch`.

        Args:
            each: called with a line as it comes; a film may have none.

        Returns:
            What became of the whole: answered if its lines came to their end.
        """
        names = [f"film-{place}" for place in range(len(films))]
        headers = {
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
            "X-Request-ID": terms.request,
        }
        try:
            with (
                gevent.Timeout(terms.limit_s, _Silent),
                self._posted(
                    "/v1/predict/batch", _multipart(films, names), headers, terms
                ) as response,
            ):
                if response.status != 200:
                    return _read(response, response.read())
                for line in response:
                    each(_line(line))
                return Came(outcome=Outcome.ANSWERED, status=response.status)
        except _Silent:
            return came.silent(terms.limit_s)
        except (OSError, http.client.HTTPException) as error:
            return came.broken(type(error).__name__)

    @contextmanager
    def _posted(
        self, path: str, body: bytes, headers: dict[str, str], terms: Terms
    ) -> Iterator[http.client.HTTPResponse]:
        query = urlencode({"priority": terms.priority, "deadline_ms": f"{terms.deadline_ms:.0f}"})
        connection = self._connection()
        kept = False
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                # Who refuses an upload need not read it: the answer may be there already.
                connection.request("POST", f"{path}?{query}", body, headers)
            response = connection.getresponse()
            yield response
            # Http.client closes it by itself where the server will.
            kept = response.isclosed() and connection.sock is not None
        finally:
            if kept:
                self._idle.append((time.monotonic(), connection))
            else:
                connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        while self._idle:
            since, connection = self._idle.pop()
            if time.monotonic() - since < _MOST_IDLE_S and not _has_something(connection):
                return connection
            connection.close()
        return http.client.HTTPConnection(self._host, self._port)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """A line of a batch's answer; `index` -1: it is none.

    Attributes:
        name: of the part, as it came back.
    """

    index: int
    name: str
    came: Came


class _Silent(BaseException):
    """The caller waits no longer."""


def _has_something(connection: http.client.HTTPConnection) -> bool:
    """An idle connection that can be read was ended, or has an answer that nobody asked for."""
    if connection.sock is None:
        return True
    readable, _, _ = select.select([connection.sock], [], [], 0)
    return bool(readable)


def _multipart(films: Sequence[Film], names: Sequence[str]) -> bytes:
    parts = []
    for film, name in zip(films, names, strict=True):
        head = (
            f"--{_BOUNDARY}\r\n"
            f'Content-Disposition: form-data; name="image"; filename="{name}"\r\n'
            f"Content-Type: {film.content_type}\r\n\r\n"
        )
        parts += [head.encode(), film.data, b"\r\n"]
    return b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])


def _read(response: http.client.HTTPResponse, body: bytes) -> Came:
    outcome = came.outcome_of(response.status)
    if outcome is not Outcome.ANSWERED:
        return Came(
            outcome=outcome,
            status=response.status,
            why=_code_in(body),
            retry_after_s=_seconds(response.headers.get("Retry-After")),
        )
    try:
        return _answered(response.status, json.loads(body))
    except ValueError:
        return Came(outcome=Outcome.WRONG, status=response.status, why="the answer is not JSON")


def _line(line: bytes) -> BatchLine:
    try:
        told = json.loads(line)
        index, name = int(told["index"]), str(told["name"])
        if "answer" in told:
            return BatchLine(index=index, name=name, came=_answered(200, told["answer"]))
        problem = told["problem"]
        status = int(problem["status"])
        reply = Came(
            outcome=came.outcome_of(status) if status >= 400 else Outcome.WRONG,
            status=status,
            why=str(problem["code"]),
            retry_after_s=_seconds(problem.get("retry_after_s")),
        )
        return BatchLine(index=index, name=name, came=reply)
    except (ValueError, KeyError, TypeError):
        reply = Came(outcome=Outcome.WRONG, status=200, why="a line is no answer and no problem")
        return BatchLine(index=-1, name="", came=reply)


def _answered(status: int, document: Any) -> Came:
    try:
        return Came(outcome=Outcome.ANSWERED, status=status, seen=seen_in_json(document))
    except NoAnswer as error:
        return Came(outcome=Outcome.WRONG, status=status, why=str(error))


def _code_in(body: bytes) -> str:
    """The problem document's code; empty where something else answered."""
    try:
        return str(json.loads(body)["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _seconds(text: Any) -> float | None:
    try:
        return max(0.0, float(text))
    except (TypeError, ValueError):
        return None
