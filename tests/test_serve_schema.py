"""The server follows its own OpenAPI document for all requests."""

from __future__ import annotations

import pytest
from serving import serving

schemathesis = pytest.importorskip(
    "schemathesis", reason="needs schemathesis: make test-device installs it"
)
pytest.importorskip("fastapi", reason="needs lesionedge[web]")
from hypothesis import HealthCheck, given, settings  # noqa: E402 - schemathesis brings it

TOKEN = "a-token-of-the-tests-0123"
OPERATIONS = (
    "POST /v1/predict", "POST /v1/explain", "GET /model", "GET /health", "GET /metrics",
    "GET /live",
)  # fmt: skip
FIT, UNFIT = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
TRIALS = [(name, FIT) for name in OPERATIONS] + [("POST /v1/predict", UNFIT), ("GET /live", UNFIT)]


@schemathesis.serializer("image/*")
def _image(_context, value):
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(scope="module")
def described(int8):
    with serving("-m", int8, "--token", TOKEN) as server:
        yield schemathesis.openapi.from_url(f"{server.url}openapi.json")


def test_every_operation_is_tried(described):
    found = [result.ok() for result in described.get_all_operations()]
    assert {f"{one.method.upper()} {one.path}" for one in found} == set(OPERATIONS)


@pytest.mark.parametrize(("name", "mode"), TRIALS)
def test_the_server_keeps_to_its_document(described, name, mode):
    method, path = name.split()
    operation = described[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=40, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def tried(case):
        # Text that fits the document is not an image and is refused, so this one check is left out.
        case.call_and_validate(
            headers={"Authorization": f"Bearer {TOKEN}"},
            excluded_checks=[schemathesis.checks.positive_data_acceptance],
        )

    tried()
