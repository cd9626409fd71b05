"""The server keeps to its own OpenAPI document, whatever is sent."""

from __future__ import annotations

import pytest
from serving import serving

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
pytest.importorskip("fastapi", reason="needs lesionedge[web]")
from hypothesis import HealthCheck, settings  # noqa: E402 - schemathesis brings it

TOKEN = "a-token-of-the-tests-0123"


@pytest.fixture(scope="module")
def described(int8):
    with serving("-m", int8, "--token", TOKEN) as server:
        yield schemathesis.openapi.from_url(f"{server.url}openapi.json")


schema = schemathesis.pytest.from_fixture("described")


@schemathesis.serializer("image/*")
def _picture(_context, value):
    return value if isinstance(value, bytes) else str(value).encode()


@schema.parametrize()
@settings(
    max_examples=30, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_the_server_keeps_to_its_document(case):
    # Text that fits the document is no picture, and rightly refused: the one check left out.
    case.call_and_validate(
        headers={"Authorization": f"Bearer {TOKEN}"},
        excluded_checks=[schemathesis.checks.positive_data_acceptance],
    )
