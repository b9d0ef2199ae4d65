"""Cases generated from the OpenAPI description: no fault of ours, and nothing that the description denies."""

import sys
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import LocalLedger, LocalRouter, ScriptedExpert, VectorExpert

from serve.config import ServeConfig
from serve.config.orders import order_open
from serve.http.api import create_api
from serve.request.gateway import Gateway

CASES_PER_PATH = 300  # four paths take a body: 1,200 cases in all
#: Paths whose requests are translated: their cases take longer to make, and what is behind them is the same.
TRANSLATED = ("/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings", "/v1/rerank")
CASES_OF_TRANSLATED = 40


@pytest.fixture(scope="module")
def api_schema(orchestrator, tmp_path_factory):
    config = ServeConfig(home=tmp_path_factory.mktemp("home"), access="open")
    experts = {name: ScriptedExpert(name) for name in ("smollm2-135m", "gemma-3-270m")}
    experts["vectors"] = VectorExpert("vectors")
    gateway = Gateway(config, LocalRouter(orchestrator), LocalLedger(config), experts)
    api = create_api(gateway)

    async def as_from_this_machine(scope, receive, send):
        if scope["type"] == "http":  # an open endpoint answers to no other name than the machine's own
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope = {**scope, "headers": [*others, (b"host", b"localhost")]}
        await api(scope, receive, send)
        if scope.get("path") == "/v1/operate":  # a case may have closed the endpoint
            order_open(config.home)
            gateway.service.look_now()

    return schemathesis.openapi.from_asgi("/openapi.json", as_from_this_machine)


# What a schema cannot say (an expert that does not exist, a conversation without a word) is refused too.
BEYOND_THE_SCHEMA = schemathesis.checks.positive_data_acceptance

OPERATIONS = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/route"),
    ("POST", "/v1/feedback"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/rerank"),
    ("POST", "/v1/operate"),
    *(("GET", f"/v1/admin/{one}") for one in ("keys", "teams", "usage", "alerts", "log")),
    *(("POST", f"/v1/admin/{one}") for one in ("keys", "teams", "keys/{name}/rotate")),
    *((how, f"/v1/admin/{one}/{{name}}") for how in ("PATCH", "DELETE") for one in ("keys", "teams")),
    ("GET", "/v1/overview"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_fits_the_description(api_schema, method, path):
    cases, most = 0, CASES_OF_TRANSLATED if path in TRANSLATED else CASES_PER_PATH

    @given(case=api_schema[path][method].as_strategy())
    @settings(
        max_examples=most,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def validate(case):
        nonlocal cases
        cases += 1
        case.call_and_validate(excluded_checks=[BEYOND_THE_SCHEMA])

    validate()
    # A path without parameters has few cases: Hypothesis stops when it has seen them all.
    assert cases >= (most if method == "POST" else 1)


def test_no_path_is_forgotten(api_schema):
    described = {
        (operation.ok().method.upper(), operation.ok().path) for operation in api_schema.get_all_operations()
    }
    assert described == set(OPERATIONS)
