"""The server under test, over HTTP: requests in, answers with what was sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

import httpx

from cxrserve.conformance.checks import Catalogue
from cxrserve.conformance.model import Model, Options, read_model
from cxrserve.conformance.specification import Extension
from cxrserve.conformance.tensors import Tensor
from cxrserve.conformance.verdicts import Differs, Failed, NotApplicable

_SHOWN = 240


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and the request that it is to."""

    sent: str
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def came(self) -> str:
        """The answer, shortened for a message."""
        return f"{self.status} {_shown(self.body)}".rstrip()

    def failure(self, expected: str) -> Failed:
        """The remark that this answer breaks a rule."""
        return Failed(expected, sent=self.sent, came=self.came)

    def difference(self, expected: str) -> Differs:
        """The remark that servers differ here."""
        return Differs(expected, sent=self.sent, came=self.came)

    def ok(self) -> Answer:
        """Itself.

        Raises:
            Failed: the status is not 200.
        """
        if self.status != 200:
            raise self.failure("status 200")
        return self

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            Failed: it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise self.failure("a JSON body") from None

    def member(self, name: str, kind: type) -> Any:
        """A member of the JSON object that the body is.

        Raises:
            Failed: there is none, or it is of another type.
        """
        document = self.json()
        value = document.get(name) if isinstance(document, dict) else None
        if not isinstance(value, kind):
            raise self.failure(f"a JSON object with {name!r}: {kind.__name__}")
        return value

    @property
    def is_not_there(self) -> bool:
        """Whether the path, or the method, is unknown; a framework may say so in its own words."""
        return self.status in (404, 405)

    def refused(self, *, status: int | None = None) -> None:
        """Demand a clean refusal: an error status and `{"error": text}`.

        Args:
            status: the one in Triton's table (docs/protocol/README.md); None: any of 4xx or 501.

        Raises:
            Failed: it was accepted, or the body does not say why not.
            Differs: another status; OIP says only "an HTTP error status (typically 400)".
        """
        wanted = f"status {status}" if status else "status 4xx"
        if self.status < 400:
            raise self.failure(f"a refusal, {wanted}")
        self.member("error", str)
        if self.status >= 500 and self.status != 501:
            raise self.difference(f"{wanted}: the mistake is the client's, 5xx blames the server")
        if status is not None and self.status != status:
            raise self.difference(wanted)


class HttpServer:
    """A server, asked over HTTP.

    Args:
        client: its `base_url` is what comes before `/v2`.
        options: which model, and what may be done.
    """

    def __init__(self, client: httpx.Client, options: Options) -> None:
        self._client, self.options = client, options

    @cached_property
    def extensions(self) -> frozenset[str]:
        """What the server's metadata list; empty if they cannot be read."""
        answer = self.get("v2")
        try:
            return frozenset(str(one) for one in answer.ok().member("extensions", list))
        except Failed:
            return frozenset()

    @cached_property
    def model(self) -> Model:
        """The model, by its metadata.

        Raises:
            NotApplicable: they cannot be read, so nothing can be sent.
        """
        answer = self.get(self.model_path())
        try:
            return read_model(answer.ok().json(), self._optional_inputs())
        except (Failed, ValueError) as reason:
            raise NotApplicable(f"the model's metadata cannot be read: {reason}") from None

    @cached_property
    def sample(self) -> tuple[Tensor, ...]:
        """Valid inputs for the model."""
        return self.model.sample(self.options)

    def model_path(self, rest: str = "", *, version: str = "", model: str = "") -> str:
        """`v2/models/NAME[/versions/V]` and what follows."""
        path = f"v2/models/{quote(model or self.options.model, safe='')}"
        return path + (f"/versions/{quote(version, safe='')}" if version else "") + rest

    def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        """GET."""
        return self.call("GET", path, headers=headers)

    def post(
        self, path: str, content: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """POST of bytes."""
        return self.call("POST", path, content, headers=headers)

    def post_json(self, path: str, document: Any) -> Answer:
        """POST of JSON."""
        return self.call("POST", path, json.dumps(document).encode())

    def call(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Any request. A body is called JSON and an answer is asked for uncompressed, unless said.

        Raises:
            Failed: no answer came.
        """
        named = {"Accept-Encoding": "identity"}
        if content:
            named["Content-Type"] = "application/json"
        named |= dict(headers or {})
        sent = f"{method} /{path}" + "".join(f" [{k}: {v}]" for k, v in (headers or {}).items())
        sent += f" {_shown(content)}" if content else ""
        try:
            response = self._request(method, path, content, named)
        except httpx.HTTPError as error:
            raise Failed(
                "an answer", sent=sent, came=f"none ({type(error).__name__}: {error})"
            ) from None
        return Answer(sent, response.status_code, response.headers, response.content)

    def _request(
        self, method: str, path: str, content: bytes, headers: dict[str, str]
    ) -> httpx.Response:
        try:
            return self._client.request(method, path, content=content, headers=headers)
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            # A server may close after an error, just as the next request is on its way; on a new
            # connection only this request itself can be at fault.
            return self._client.request(method, path, content=content, headers=headers)

    def _optional_inputs(self) -> frozenset[str]:
        """Inputs that the model's configuration calls optional; its own check looks at the rest."""
        if Extension.CONFIG not in self.extensions:
            return frozenset()
        try:
            inputs = self.get(self.model_path("/config")).ok().member("input", list)
        except Failed:
            return frozenset()
        named = [one for one in inputs if isinstance(one, dict) and one.get("optional")]
        return frozenset(str(one.get("name")) for one in named)


HTTP: Catalogue[HttpServer] = Catalogue()


def _shown(body: bytes) -> str:
    text = repr(body)[2:-1] if any(byte < 9 or byte > 126 for byte in body) else body.decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(body)} bytes)"
