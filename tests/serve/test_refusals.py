"""What the router's errors are to a client: the request's own fault is a 400, all else the endpoint's."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import LocalLedger, LocalRouter, ScriptedExpert

from serve.config import ServeConfig
from serve.http.api import create_api
from serve.request.gateway import Gateway
from warehouse import (
    CannotRunError,
    InfeasibleError,
    InputError,
    LedgerAwayError,
    LeerooError,
    NobodyMayAnswerError,
    NotReadyError,
    TooFewError,
)

STATUS = {
    NobodyMayAnswerError: (400, "no_expert_allowed"),
    InputError: (400, "invalid_request"),
    NotReadyError: (500, "internal_error"),
    TooFewError: (500, "internal_error"),
    InfeasibleError: (500, "internal_error"),
    CannotRunError: (500, "internal_error"),
    LedgerAwayError: (500, "internal_error"),  # from the ledger's handle it comes as a 503
}


class FailingRouter(LocalRouter):
    """Says why it cannot decide."""

    def __init__(self, orchestrator, error):
        super().__init__(orchestrator)
        self.error = error

    async def decide(self, query):
        raise self.error


def test_every_error_of_the_tree_has_a_status():
    assert set(STATUS) == set(LeerooError.__subclasses__())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", STATUS)
def test_an_error_of_the_router_has_the_right_status_and_shows_no_trace(orchestrator, kind, stream):
    error = kind("a secret place is wrong", where="/srv/secret/pool.yaml", fix="mend it")
    config = ServeConfig(home=Path(tempfile.mkdtemp(prefix="leeroo-test-")))
    expert = ScriptedExpert("smollm2-135m")
    gateway = Gateway(
        config, FailingRouter(orchestrator, error), LocalLedger(config), {expert.spec.name: expert}
    )

    async def send():
        transport = httpx.ASGITransport(app=create_api(gateway), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
            body = {"messages": [{"role": "user", "content": "1 + 1?"}], "model": "leeroo", "stream": stream}
            return await web.post("/v1/chat/completions", json=body)

    reply = asyncio.run(send())
    status, code = STATUS[kind]
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert "Traceback" not in reply.text
    assert ("secret" in reply.text) == (status == 400)  # what is not the request's fault stays in the log
    assert json.loads(reply.text).keys() == {"error"}
    assert expert.bodies == []
