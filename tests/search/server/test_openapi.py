"""Requests made up from the server's own OpenAPI document, good ones and bad ones, against the application."""

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from hypothesis import HealthCheck, given, settings  # noqa: E402  # comes with it
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

from eotune.search.server.limits import ServerLimits  # noqa: E402

EXAMPLES = 15  # for each operation and each kind of request
LIMITS = ServerLimits(max_k=3, max_text=60)
OPERATIONS = [
    ("GET", "/api/index"),
    ("POST", "/api/search"),
    ("POST", "/api/search/image"),
    ("GET", "/api/tile/{id}"),
    ("GET", "/api/thumbnail/{id}"),
    ("GET", "/healthz"),
]
MODES = schemathesis.GenerationMode
# A tile that is not there, words of blanks and a south above its north agree with the document and are refused.
EXCLUDED = [positive_data_acceptance]


@pytest.fixture(scope="module")
def schema(client):
    app = client(hosts=["testserver", "localhost"], limits=LIMITS).app
    return schemathesis.openapi.from_asgi("/api/openapi.json", app)


@pytest.mark.parametrize("mode", list(MODES), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_server_does_as_its_document_says(schema, method, path, mode):
    if mode is MODES.NEGATIVE and path in ("/api/index", "/healthz"):
        pytest.skip("takes nothing that could be wrong")

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(schema[path][method].as_strategy(generation_mode=mode))
    def check(case):
        case.call_and_validate(excluded_checks=EXCLUDED)

    check()


def test_the_document_tells_all(client):
    document = client(limits=LIMITS).get("/api/openapi.json").json()
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == set(OPERATIONS)
    fields = document["components"]["schemas"]["SearchRequest"]["properties"]
    assert (fields["k"]["maximum"], fields["k"]["default"]) == (3, 3)
    assert fields["text"]["anyOf"][0]["maxLength"] == 60
    assert document["components"]["schemas"]["SearchRequest"]["additionalProperties"] is False
