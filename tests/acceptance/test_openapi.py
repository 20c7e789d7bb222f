"""What /openapi.json promises is kept, whatever is sent: thousands of made-up requests."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
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


@pytest.fixture(scope="module")
def promised(server: Server) -> Any:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("promised")


@schema.parametrize()
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_the_service_or_its_promise(case: Any) -> None:
    response = case.call(timeout=60)
    assert response.status_code < 500 or response.status_code in _MEANT, response.text
    case.validate_response(response, checks=_KEPT)
