"""An expert in Anthropic's dialect behind the endpoint: routed, streamed, billed, fallen back from."""

import asyncio
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import FixedRouter, LocalLedger

from experts import ExpertSpec
from serve.config import ServeConfig
from serve.experts.deployments import called
from serve.experts.direct import DirectClient
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import hash_secret
from serve.request.gateway import Gateway
from serve.wire.protocol import ChatRequest
from tests.experts.upstream.vendor_words import events_of, message
from tests.scripted_api import ChatHandler, completion, serve_chat

USD = 1e-6  # a token, read or written


class Anthropic(ChatHandler):
    is_busy = False
    asked = 0

    def act(self, body):
        type(self).asked += 1
        if self.is_busy:
            error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
            self.send(529, json.dumps(error))
        elif body.get("stream"):
            events = (f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events_of("Fi", "ne."))
            self.send(200, "".join(events), {"content-type": "text/event-stream"})
        else:
            self.send(200, json.dumps(message()))


class OpenAI(ChatHandler):
    def act(self, body):
        self.reply(completion("Another's.", body["model"]))


@pytest.fixture
def asking(monkeypatch):
    """Ask a gateway of both; returns the answers and what the key has spent."""
    monkeypatch.setenv("ANTHROPIC_KEY_OF_TEST", "odd-key-of-vendor")

    class Handler(Anthropic):
        pass

    with ExitStack() as stack:
        addresses = {name: stack.enter_context(serve_chat(h)) for name, h in (("a", Handler), ("o", OpenAI))}
        price = {"usd_per_mtok_in": USD * 1e6, "usd_per_mtok_out": USD * 1e6}
        specs = [
            ExpertSpec(
                **{"name": "alpha", "backend": "litellm", "model": "anthropic/m", "price": price},
                base_url=addresses["a"],
                api_key_env="ANTHROPIC_KEY_OF_TEST",
            ),
            ExpertSpec(name="beta", backend="openai", model="m", price=price, base_url=addresses["o"]),
        ]

        async def go(*streams):
            home = Path(tempfile.mkdtemp(prefix="leeroo-test-"))
            config = ServeConfig(home=home, access="keys")
            experts = {spec.name: DirectClient(spec) for spec in specs}
            gateway = Gateway(config, FixedRouter("alpha", "beta"), LocalLedger(config), experts)
            keys = Ledger(home / LEDGER_FILE)
            caller = await gateway.ledger.identify(hash_secret(keys.create_key("ann", budget_usd=1.0)[1]))
            said = []
            for stream in streams:
                messages = [{"role": "user", "content": "Well?"}]
                request = ChatRequest(model="leeroo", messages=messages, max_tokens=40, stream=stream)
                if stream:
                    _, pieces = await gateway.stream(request, caller)
                    told = [piece async for piece in pieces]
                    deltas = [c["delta"].get("content") or "" for p in told for c in p["choices"]]
                    said.append(("".join(deltas), told[-1]["leeroo"]))
                else:
                    answer = await gateway.answer(request, caller)
                    said.append((answer["choices"][0]["message"]["content"], answer["leeroo"]))
            await gateway.drain(10.0)
            for expert in experts.values():
                await expert.aclose()
            (key,) = keys.list_keys()
            return said, key

        yield lambda *streams: (asyncio.run(go(*streams)), Handler)


def test_it_answers_whole_and_streamed_and_is_charged(asking):
    ((whole, streamed), key), handler = asking(False, True)
    for text, told in (whole, streamed):
        assert text == "Fine."
        assert told["expert"] == "alpha"
        assert told["cost_usd"] == pytest.approx(24 * USD)
    assert key.spent_usd == pytest.approx(48 * USD)
    assert key.reserved_usd == 0
    assert handler.asked == 2


@pytest.mark.parametrize("stream", [False, True])
def test_another_expert_answers_where_it_is_overloaded(asking, monkeypatch, stream):
    monkeypatch.setattr(Anthropic, "is_busy", True)
    (((text, told),), key), handler = asking(stream)
    assert text == "Another's."
    assert told["expert"] == "beta"
    assert key.spent_usd == pytest.approx(14 * USD)
    assert handler.asked == 1


def test_it_has_no_deployment_of_its_own():
    spec = ExpertSpec(
        **{"name": "a", "backend": "litellm", "model": "anthropic/m", "concurrency": 7},
        price={"usd_per_mtok_in": 1, "usd_per_mtok_out": 1},
    )
    assert called(spec).share(spec, 3) == 2
