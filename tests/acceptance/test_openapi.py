"""What /openapi.json promises is kept, whatever is sent: thousands of made-up requests."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.acceptance.conftest import Server

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

load_all_checks()
_KEPT = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
# Not served, not ready, too late: said on purpose. Anything else from 500 on is a failure.
_MEANT = {501, 503, 504}


_EXAMPLES = 120


def test_no_request_breaks_the_service_or_its_promise(server: Server) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    asked = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()

        @settings(
            max_examples=_EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal asked
            # No route matches a line break: BentoML itself says 404 then, in its own words.
            assume(not any("\n" in unquote(str(part)) for part in case.path_parameters.values()))
            asked += 1
            response = case.call(timeout=60)
            meant = response.status_code < 500 or response.status_code in _MEANT
            assert meant, f"{case.method} {case.path}: {response.text}"
            case.validate_response(response, checks=_KEPT)

        ask()
    assert asked > 2000
