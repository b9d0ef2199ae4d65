import asyncio
import json
import sys
import tempfile
from pathlib import Path

import httpx
import openai
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import BROKEN, BUSY, SLOW, TOO_LONG, LocalLedger, LocalRouter, ScriptedExpert

from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.messages import Caller
from serve.request.gateway import Gateway
from serve.wire.protocol import ChatRequest

JSON = {"content-type": "application/json"}
CAPITAL = [{"role": "user", "content": "What is the capital of Peru?"}]
SUM = [{"role": "user", "content": "What is 3 + 21?"}]


def endpoint(orchestrator, *experts, **settings):
    config = ServeConfig(**({"home": Path(tempfile.mkdtemp(prefix="leeroo-test-"))} | settings))
    by_name = {expert.spec.name: expert for expert in experts}
    return Gateway(config, LocalRouter(orchestrator), LocalLedger(config), by_name)


def both(*, smol=(), gemma=()):
    return ScriptedExpert("smollm2-135m", *smol), ScriptedExpert("gemma-3-270m", *gemma)


def http(gateway):
    transport = httpx.ASGITransport(app=create_api(gateway), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def client(gateway):
    return openai.AsyncOpenAI(
        base_url="http://localhost/v1", api_key="none", http_client=http(gateway), max_retries=0
    )


def ask(gateway, **body):
    async def send():
        async with http(gateway) as web:
            content = json.dumps({"messages": CAPITAL, **body})
            return await web.post("/v1/chat/completions", content=content, headers=JSON)

    return asyncio.run(send())


def test_the_openai_client_gets_the_answer_of_the_expert_that_fits_the_question(orchestrator):
    async def talk():
        web = client(endpoint(orchestrator, *both()))
        models = [model.id async for model in web.models.list()]
        geography = await web.chat.completions.create(model="leeroo:quality", messages=CAPITAL)
        arithmetic = await web.chat.completions.create(model="leeroo:quality", messages=SUM)
        return models, geography, arithmetic

    models, geography, arithmetic = asyncio.run(talk())
    assert models[:4] == ["leeroo", "leeroo:quality", "leeroo:balanced", "leeroo:economy"]
    assert geography.model == "gemma-3-270m"
    assert arithmetic.model == "smollm2-135m"
    assert geography.leeroo["predicted_success"] > 0.55
    assert geography.leeroo["cost_usd"] == pytest.approx(150 * 0.02e-6)


def test_economy_takes_the_cheap_expert_and_a_name_goes_straight_through(orchestrator):
    gateway = endpoint(orchestrator, *both())
    assert ask(gateway, model="leeroo:economy").json()["model"] == "smollm2-135m"
    named = ask(gateway, model="gemma-3-270m")
    assert named.json()["leeroo"]["reason"] == "named by the request"
    assert named.headers["x-leeroo-expert"] == "gemma-3-270m"
    assert "x-leeroo-router-version" not in named.headers


def test_limits_of_the_request_are_kept(orchestrator):
    gateway = endpoint(orchestrator, *both())
    assert ask(gateway, model="leeroo:quality", experts=["smollm2-135m"]).json()["model"] == "smollm2-135m"
    assert ask(gateway, model="leeroo:quality", max_cost_usd=1.5e-6).json()["model"] == "smollm2-135m"
    assert ask(gateway, model="leeroo:economy", min_success=0.6).json()["model"] == "gemma-3-270m"


def test_an_expert_gets_the_request_without_our_fields(orchestrator):
    expert = ScriptedExpert("smollm2-135m")
    gateway = endpoint(orchestrator, expert)
    ask(gateway, min_success=0.1, temperature=0.5, seed=None, response_format={"type": "json_object"})
    (body,) = expert.bodies
    assert body == {
        "messages": CAPITAL,
        "temperature": 0.5,
        "seed": None,
        "response_format": {"type": "json_object"},
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", [BROKEN, BUSY, TOO_LONG])
def test_the_next_best_expert_answers_when_the_chosen_one_fails(orchestrator, failure, stream):
    gateway = endpoint(orchestrator, *both(gemma=[failure]))
    reply = ask(gateway, model="leeroo:quality", stream=stream)
    assert reply.status_code == 200
    assert reply.headers["x-leeroo-expert"] == "smollm2-135m"
    assert reply.headers["x-leeroo-tried"] == "gemma-3-270m"


@pytest.mark.parametrize(
    ("failures", "status", "code"),
    [
        ((BROKEN, BROKEN), 502, "no_expert_answered"),
        ((BUSY, BUSY), 429, "overloaded"),
        ((TOO_LONG, TOO_LONG), 400, "context_length_exceeded"),
        ((TOO_LONG, BROKEN), 502, "no_expert_answered"),
        ((BROKEN, SLOW), 504, "timeout"),
    ],
)
def test_when_nobody_answers_the_error_says_why(orchestrator, failures, status, code):
    gateway = endpoint(orchestrator, *both(gemma=failures[:1], smol=failures[1:]))
    reply = ask(gateway, model="leeroo:quality")
    assert reply.status_code == status
    assert reply.json()["error"]["code"] == code
    assert ("retry-after" in reply.headers) == (status == 429)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "messages.0.role"),
        ({"temperature": 3}, 400, "temperature"),
        ({"max_cost_usd": -1}, 400, "max_cost_usd"),
        ({"experts": ["nobody"]}, 400, "experts"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, "messages.0.content"),
        ({"user": "\ud800"}, 400, "user"),
        ({"temperature": float("nan")}, 400, "temperature"),
        ({"model": "gpt-9"}, 404, "model"),
        ({"model": "leeroo:cheapest"}, 400, "model"),
        ({"model": "leeroo:quality:economy"}, 404, "model"),
        ({"model": "leeroo:"}, 404, "model"),
        ({"max_cost_usd": 1e-12}, 400, None),
        ({"logit_bias": {"1": float("nan")}}, 400, None),
        ({"tools": [{"type": "function", "function": {"name": "\ud800"}}]}, 400, None),
        ({"model": "smollm2-135m", "max_cost_usd": 1}, 400, "max_cost_usd"),
        ({"model": "smollm2-135m", "min_success": 0.5}, 400, "min_success"),
        ({"model": "smollm2-135m", "experts": ["smollm2-135m"]}, 400, "experts"),
        ({"messages": [{"role": "user", "content": "x"}] * 3000}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 1_100_000}]}, 413, None),
    ],
)
def test_a_bad_request_is_refused_in_openais_shape(orchestrator, body, status, param):
    expert = ScriptedExpert("smollm2-135m")
    reply = ask(endpoint(orchestrator, expert), **body)
    assert reply.status_code == status
    assert reply.json()["error"]["param"] == param
    assert expert.bodies == []


def test_a_body_that_hides_its_length_is_cut_off(orchestrator):
    async def drip():
        for _ in range(30):
            yield b" " * 50_000

    async def send():
        async with http(endpoint(orchestrator, *both())) as web:
            return await web.post(
                "/v1/chat/completions", content=drip(), headers={"content-type": "application/json"}
            )

    assert asyncio.run(send()).status_code == 413


def test_a_stream_gives_pieces_usage_and_cost(orchestrator):
    async def talk():
        web = client(endpoint(orchestrator, *both()))
        stream = await web.chat.completions.create(
            model="leeroo:quality", messages=CAPITAL, stream=True, stream_options={"include_usage": True}
        )
        return [piece async for piece in stream]

    pieces = asyncio.run(talk())
    assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == "onetwothree"
    assert pieces[0].leeroo["expert"] == "gemma-3-270m"
    *_, last, counts = pieces
    assert last.choices[0].finish_reason == "stop"
    assert last.leeroo["cost_usd"] == pytest.approx(150 * 0.02e-6)
    assert (counts.choices, counts.usage.total_tokens) == ([], 150)


@pytest.mark.parametrize("ends", [True, False])
def test_every_piece_of_a_stream_has_a_choice_unless_counts_are_wanted(orchestrator, ends):
    class Endless(ScriptedExpert):
        """Never says that it has ended."""

        async def _rest(self):
            async for piece in super()._rest():
                if not any(choice["finish_reason"] for choice in piece["choices"]):
                    yield piece

    expert = (ScriptedExpert if ends else Endless)("smollm2-135m")

    async def talk():
        web = client(endpoint(orchestrator, expert))
        said, told = "", None
        async for chunk in await web.chat.completions.create(model="leeroo", messages=SUM, stream=True):
            said += chunk.choices[0].delta.content or ""
            told = getattr(chunk, "leeroo", None) or told
        return said, told

    said, told = asyncio.run(talk())
    assert said == "onetwothree"
    assert told["cost_usd"] == pytest.approx(150 * 0.01e-6)


def test_pieces_of_a_stream_are_not_held_back(orchestrator):
    came, seen = [], 0

    class Watched(ScriptedExpert):
        async def _rest(self):
            async for piece in super()._rest():
                came.append(seen)
                yield piece

    async def talk():
        nonlocal seen
        gateway = endpoint(orchestrator, Watched("smollm2-135m"))
        request = ChatRequest(messages=SUM, stream=True)
        _, pieces = await gateway.stream(request, Caller())
        async for _ in pieces:
            seen += 1

    asyncio.run(talk())
    # The first that shows something comes with what stands before it. By the time that another piece comes,
    # all before it have gone on, but for the one that ends the answer.
    assert came == [0, 0, 2, 3, 4]


def test_a_stream_that_breaks_off_ends_with_an_error_event(orchestrator):
    gateway = endpoint(orchestrator, ScriptedExpert("smollm2-135m", cut_after=2))
    events = [line for line in ask(gateway, stream=True).text.splitlines() if line]
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "stream_cut"

    async def talk():
        web = client(endpoint(orchestrator, ScriptedExpert("smollm2-135m", cut_after=2)))
        return [p async for p in await web.chat.completions.create(model="leeroo", messages=SUM, stream=True)]

    with pytest.raises(openai.APIError, match="broke off"):
        asyncio.run(talk())


def test_more_requests_than_places_get_429_at_once(orchestrator):
    gateway = endpoint(orchestrator, *both(), max_in_flight=1)
    with gateway.admit(Caller()):
        reply = ask(gateway)
    assert reply.status_code == 429
    assert reply.headers["retry-after"] == "1"
    assert ask(gateway).status_code == 200
    assert ask(gateway, stream=True).status_code == 200
    assert ask(gateway).status_code == 200  # the stream gave its place back


def test_route_tells_the_forecasts_and_asks_nobody(orchestrator):
    smol, gemma = both()

    async def send(**body):
        async with http(endpoint(orchestrator, smol, gemma)) as web:
            content = json.dumps({"query": CAPITAL[0]["content"], **body})
            return await web.post("/v1/route", content=content, headers=JSON)

    told = asyncio.run(send(preset="quality")).json()
    assert (told["expert"], told["fallbacks"]) == ("gemma-3-270m", ["smollm2-135m"])
    assert {f["expert"]: f["served"] for f in told["forecasts"]} == {
        "smollm2-135m": True,
        "gemma-3-270m": True,
    }
    assert asyncio.run(send(multiplier=1e12)).json()["expert"] == "smollm2-135m"
    assert asyncio.run(send(nonsense=1)).status_code == 400
    assert asyncio.run(send(messages=CAPITAL)).status_code == 400  # and a query beside them
    assert asyncio.run(send(query=None, messages=CAPITAL, preset="quality")).json() == told
    assert smol.bodies == gemma.bodies == []


def test_deciding_takes_a_place_too(orchestrator):
    gateway = endpoint(orchestrator, *both(), max_in_flight=1)

    async def send():
        async with http(gateway) as web:
            return await web.post("/v1/route", json={"query": "x"})

    with gateway.admit(Caller()):
        assert asyncio.run(send()).status_code == 429
    assert asyncio.run(send()).status_code == 200


def test_a_picture_alone_is_for_an_expert_that_is_named(orchestrator):
    expert = ScriptedExpert("gemma-3-270m")
    gateway = endpoint(orchestrator, expert)
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]
    assert ask(gateway, messages=picture, model="gemma-3-270m").status_code == 200
    refused = ask(gateway, messages=picture)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages")
    assert [body["messages"] for body in expert.bodies] == [picture]


def test_unknown_paths_and_methods_are_refused_in_openais_shape(orchestrator):
    async def send():
        async with http(endpoint(orchestrator, *both())) as web:
            return await web.get("/v1/nothing"), await web.get("/v1/chat/completions")

    missing, wrong = asyncio.run(send())
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.json()["error"]["type"] == wrong.json()["error"]["type"] == "invalid_request_error"


def test_a_text_completion_is_routed_too(orchestrator):
    smol, gemma = both()

    async def talk():
        web = client(endpoint(orchestrator, smol, gemma))
        return await web.completions.create(
            model="leeroo:quality", prompt=CAPITAL[0]["content"], max_tokens=5
        )

    assert asyncio.run(talk()).leeroo["expert"] == "gemma-3-270m"
    assert gemma.bodies == [{"prompt": CAPITAL[0]["content"], "max_tokens": 5}]


def test_an_expert_that_keeps_failing_rests_and_readyz_tells(orchestrator):
    smol, gemma = both(gemma=[BROKEN] * 3)
    gateway = endpoint(orchestrator, smol, gemma)

    async def get(path):
        async with http(gateway) as web:
            return await web.get(path)

    tried = [ask(gateway, model="leeroo:quality").headers.get("x-leeroo-tried", "") for _ in range(5)]
    assert tried == ["gemma-3-270m"] * 3 + [""] * 2
    assert asyncio.run(get("/readyz")).json() == {
        "ready": True,
        "experts": {"smollm2-135m": "ok", "gemma-3-270m": "resting"},
    }
    alone = ask(gateway, model="leeroo:quality", experts=["gemma-3-270m"])
    assert alone.status_code == 200  # who is the only one allowed is asked all the same
    figures = asyncio.run(get("/metrics")).text
    assert 'leeroo_expert_rests_seconds{expert="' in figures
    assert 'leeroo_expert_failures_total{expert="gemma-3-270m",status="502"} 3.0' in figures
    assert 'leeroo_answers_total{expert="smollm2-135m"} 5.0' in figures
    assert 'leeroo_tokens_total{expert="smollm2-135m",kind="prompt"} 650.0' in figures


@pytest.mark.parametrize("failures", [3, 0])
def test_readyz_is_503_when_everyone_rests_or_starts(orchestrator, failures):
    expert = ScriptedExpert("smollm2-135m", *[BROKEN] * failures)
    gateway = endpoint(orchestrator, expert)
    expert.running = failures > 0
    for _ in range(failures):
        ask(gateway)

    async def get():
        async with http(gateway) as web:
            return await web.get("/readyz")

    assert asyncio.run(get()).status_code == 503


def test_the_playground_comes_whole_and_loads_nothing_from_elsewhere(orchestrator):
    import re

    async def get():
        async with http(endpoint(orchestrator, *both())) as web:
            return await web.get("/")

    page = asyncio.run(get())
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)|url\(|https?://|@import""", page.text) == []
    told = set(re.findall(r'fetch\("([\w/]+)', page.text))
    paths = {route.path.lstrip("/") for route in create_api(endpoint(orchestrator, *both())).routes}
    assert told == {"v1/route", "v1/chat/completions", "v1/feedback", "v1/overview", "healthz"}
    assert told <= paths


def test_a_price_on_cost_can_be_named_in_a_request(orchestrator):
    smol, gemma = both()
    gateway = endpoint(orchestrator, smol, gemma)
    assert ask(gateway, multiplier=0).json()["model"] == "gemma-3-270m"
    assert ask(gateway, multiplier=1e9).json()["model"] == "smollm2-135m"
    assert "multiplier" not in smol.bodies[0]


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_stays_with_its_expert_unless_that_loses_much(orchestrator, stream):
    gateway = endpoint(orchestrator, *both())
    decision = orchestrator.decide([CAPITAL[0]["content"]], multiplier=0)[0]
    gap = decision.success["gemma-3-270m"] - decision.success["smollm2-135m"]
    dearer = decision.cost_usd["gemma-3-270m"] - decision.cost_usd["smollm2-135m"]
    # Prices at which the cheaper expert is better by less, and by more, than it takes to move.
    near, far = (gap + 0.03) / dearer, (gap + 0.2) / dearer

    def say(turns, price):
        return ask(gateway, messages=turns, multiplier=price, stream=stream)

    assert say(CAPITAL, 0).headers["x-leeroo-expert"] == "gemma-3-270m"
    said = "onetwothree" if stream else "gemma-3-270m says hello"
    turns = [*CAPITAL, {"role": "assistant", "content": said}, *CAPITAL]
    kept = say(turns, near)
    assert kept.headers["x-leeroo-expert"] == "gemma-3-270m"
    assert "the conversation stays with gemma-3-270m" in kept.text
    assert say(turns, far).headers["x-leeroo-expert"] == "smollm2-135m"
    assert say(CAPITAL, near).headers["x-leeroo-expert"] == "smollm2-135m"
    other = [*CAPITAL, {"role": "assistant", "content": "someone else's words"}, *CAPITAL]
    assert say(other, near).headers["x-leeroo-expert"] == "smollm2-135m"


def test_a_conversation_does_not_stay_with_an_expert_that_falls_short_of_what_is_asked(orchestrator):
    gateway = endpoint(orchestrator, *both())
    decision = orchestrator.decide([CAPITAL[0]["content"]], multiplier=0)[0]
    better, worse = decision.success["gemma-3-270m"], decision.success["smollm2-135m"]
    dearer = decision.cost_usd["gemma-3-270m"] - decision.cost_usd["smollm2-135m"]
    near = (better - worse - 0.01) / dearer  # gemma is worth hardly more
    turns = [*CAPITAL, {"role": "assistant", "content": "smollm2-135m says hello"}, *CAPITAL]

    def say(turns, price, min_success=None):
        reply = ask(gateway, messages=turns, multiplier=price, min_success=min_success)
        return reply.headers["x-leeroo-expert"]

    assert say(CAPITAL, near + 1 / dearer) == "smollm2-135m"
    assert say(turns, near) == "smollm2-135m"
    assert say(turns, near, min_success=worse) == "smollm2-135m"
    assert say(turns, near, min_success=(better + worse) / 2) == "gemma-3-270m"
