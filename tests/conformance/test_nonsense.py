"""Whatever a server answers, the suite itself does not break."""

from __future__ import annotations

import json

import httpx
import pytest

from cxrserve.conformance.http_server import HttpServer
from cxrserve.conformance.model import Options
from cxrserve.conformance.over_http import CHECKS
from cxrserve.conformance.specification import Extension
from cxrserve.conformance.suite import run_checks
from cxrserve.conformance.verdicts import Verdict

_METADATA = {
    "name": "simple",
    "versions": ["1"],
    "platform": "",
    "inputs": [{"name": n, "datatype": "INT32", "shape": [-1, 16]} for n in ("INPUT0", "INPUT1")],
    "outputs": [
        {"name": n, "datatype": "INT32", "shape": [-1, 16]} for n in ("OUTPUT0", "OUTPUT1")
    ],
}
_NONSENSE = [
    "",
    "null",
    "5",
    "[]",
    "[5]",
    "{}",
    '{"error": 5}',
    '{"outputs": 5, "input": [5], "model_stats": [5], "max_batch_size": "x"}',
    '{"outputs": [{"name": "OUTPUT0", "datatype": "INT32", "shape": ["a"], "data": [1]}]}',
    '{"outputs": [{"name": 1, "datatype": 2, "shape": [-1, null], "parameters": 7}], "name": []}',
    '{"outputs": [{"shape": [1], "datatype": "INT32", "parameters": {"binary_data_size": -4}}]}',
    '{"outputs": [{"shape": [1], "datatype": "INT32", "data": [{"a": 1}]}], "trace_level": 5}',
    '{"outputs": [{"name": "OUTPUT0", "shape": [1, 16], "datatype": "INT32", "data": null}]}',
]


@pytest.mark.parametrize("body", _NONSENSE)
@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("length", [None, "3", "x", "-1"])
def test_nonsense_is_a_verdict(body: str, status: int, length: str | None) -> None:
    def answered(request: httpx.Request) -> httpx.Response:
        if request.url.path in ("/v2/models/simple", "/v2/models/simple/versions/1"):
            return httpx.Response(200, text=json.dumps(_METADATA))
        headers = {} if length is None else {"Inference-Header-Content-Length": length}
        return httpx.Response(status, text=body, headers=headers)

    client = httpx.Client(transport=httpx.MockTransport(answered), base_url="http://nonsense")
    server = HttpServer(client, Options(control=True))
    outcomes = list(run_checks(CHECKS, server, protocol="HTTP", extensions=frozenset(Extension)))
    assert any(outcome.verdict is Verdict.FAILED for outcome in outcomes)
