"""An answer that is not usable goes on to the next expert: nothing is asked twice, and the books hold.

The upstream, the client that talks to it and the ledger are the real ones; only Ray is left out.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from hostile_upstream import Plan
from test_money import WatchedLedger, finish, make_gateway, spec_of
from unusable_answers import SPOILT, given_of, schemas, text

from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import hash_secret
from serve.request.cost_bounds import asks_of
from serve.wire.api_errors import ApiError
from serve.wire.protocol import ChatRequest

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SOUND, SPOILT_TEXT = '{"city": "Lima"}', '{"city": "Lima"'
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def under(schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}}


def request_for(name, *, model="leeroo", stream=False, said="Say it.", **fields):
    messages = [{"role": "user", "content": f"{said} #{name}#"}]
    return ChatRequest(model=model, messages=messages, stream=stream, **({"max_tokens": 40} | fields))


def call_of(name, arguments):
    function = {"name": name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": function}],
    }


@pytest.fixture
def run(upstream):
    """Run a scenario with a gateway and a caller; all is settled when it returns."""

    def run(scenario, plans, *, budget_usd=1.0, ledger_type=WatchedLedger, experts=None, **fields):
        async def go():
            gateway = make_gateway(upstream, ledger_type, **({"timeout_s": 20} | fields))
            keys = Ledger(gateway.config.home / LEDGER_FILE)
            _, secret = keys.create_key("ann", budget_usd=budget_usd, experts=experts)
            caller = await gateway.ledger.identify(hash_secret(secret))
            result = await scenario(gateway, caller)
            await finish(gateway)
            (key,) = keys.list_keys()
            assert key.reserved_usd == 0
            return gateway, key, result

        upstream.plans.clear()
        upstream.plans.update(plans)
        upstream.bills.clear()
        upstream.requests.clear()
        return asyncio.run(go())

    return run


def asked(upstream):
    return [request["model"] for request in upstream.requests]


async def whole(gateway, caller, request):
    """Return the body of an answer, streamed or not, as its client puts it together."""
    if not request.stream:
        return await gateway.answer(request, caller)
    _, pieces = await gateway.stream(request, caller)
    return joined([piece async for piece in pieces if piece])


def joined(pieces):
    message, report, finish = {"content": None}, {}, None
    for piece in pieces:
        assert "error" not in piece, piece
        report = piece.get("leeroo", report)
        for choice in piece["choices"]:
            delta = choice["delta"]
            if delta.get("content") is not None:
                message["content"] = (message["content"] or "") + delta["content"]
            message |= {name: value for name, value in delta.items() if name not in ("content", "role")}
            finish = choice["finish_reason"] or finish
    return {"choices": [{"message": message, "finish_reason": finish}], "leeroo": report}


def plan_of(said):
    return Plan(says=said.message, finish=said.finish)


CASES = st.tuples(schemas(), SPOILT, SPOILT, st.booleans())


@given(cases=st.lists(CASES, min_size=25, max_size=25))
@settings(
    max_examples=16,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_invalid_json_never_reaches_a_client_while_another_expert_can_answer(run, upstream, cases):
    plans, wanted = {}, []
    for number, ((schema, value, wrong), how, how_then, stream) in enumerate(cases):
        given = [given_of(one, value, wrong) for one in (how, how_then)]
        plans |= {
            f"c{number}@{name}": plan_of(one) for name, one in zip(("alpha", "beta"), given, strict=True)
        }
        wanted.append((request_for(f"c{number}", stream=stream, **under(schema)), schema, given))

    async def scenario(gateway, caller):
        return await asyncio.gather(*(whole(gateway, caller, request) for request, _, _ in wanted))

    _, key, answers = run(scenario, plans)
    for number, (answer, (_, schema, (first, second))) in enumerate(zip(answers, wanted, strict=True)):
        told = answer["leeroo"]
        asked_of = [bill.model for bill in upstream.bills if bill.plan == f"c{number}"]
        assert asked_of == (["alpha"] if first.is_usable else ["alpha", "beta"])
        assert told["form"] == "json"
        if first.is_usable or second.is_usable:
            jsonschema.validate(json.loads(answer["choices"][0]["message"]["content"]), schema)
            assert told["unusable"] is None
            assert told["expert"] == ("alpha" if first.is_usable else "beta")
        else:
            assert told["unusable"] is not None
            assert told["expert"] in ("alpha", "beta")
        assert len(told["tried"]) == len(asked_of) - 1
        billed_usd = sum(bill.usd for bill in upstream.bills if bill.plan == f"c{number}")
        assert told["cost_usd"] == pytest.approx(billed_usd)
        attempts_usd = sum(attempt["cost_usd"] for attempt in told["tried"])
        assert told["expert_cost_usd"] + attempts_usd == pytest.approx(billed_usd)
    assert key.spent_usd == pytest.approx(upstream.billed_usd)


OPTIONS = "Which is a city?\nA. Peru\nB. Lima\nC. Chile\n"
FORMS = {
    "json_object": ({"response_format": {"type": "json_object"}}, "Say it.", text(SOUND), text("[1]")),
    "json": (under(SCHEMA), "Say it.", text(SOUND), text(SPOILT_TEXT)),
    "required": (
        {"tools": [TOOL], "tool_choice": "required"}, "Say it.", call_of("look_up", SOUND), text("Lima"),
    ),
    "named_tool": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look_up"}}},
        "Say it.", call_of("look_up", SOUND), call_of("look_up", "{}"),
    ),
    "wrong_tool": (
        {"tools": [TOOL], "tool_choice": "required"},
        "Say it.", call_of("look_up", SOUND), call_of("look_down", SOUND),
    ),
    "option": ({}, OPTIONS, text("The answer is (B)."), text("Let us think about it")),
    "number": ({}, "What is 3 + 4? Put it into \\boxed{}.", text("\\boxed{7}"), text("I am thinking")),
    "refusal": ({}, "Say it.", text("Lima."), text("I'm sorry, but I can't assist with that.")),
    "empty": ({}, "Say it.", text("Lima."), text(" ") | {"reasoning_content": "hm"}),
}  # fmt: skip


STREAMED_AT_ONCE = {"refusal", "empty"}  # texts


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        (name, stream)
        for name in FORMS
        for stream in (False, True)
        if name not in STREAMED_AT_ONCE or not stream
    ],
)
def test_every_form_falls_through_and_is_charged_for_both(run, upstream, name, stream):
    fields, said, usable, unusable = FORMS[name]
    request = request_for("it", said=said, stream=stream, **fields)

    async def scenario(gateway, caller):
        return await whole(gateway, caller, request)

    plans = {"it@alpha": Plan(says=unusable), "it@beta": Plan(says=usable)}
    gateway, key, answer = run(scenario, plans)
    assert asked(upstream) == ["alpha", "beta"]
    told = answer["leeroo"]
    assert (told["expert"], told["unusable"]) == ("beta", None)
    (attempt,) = told["tried"]
    assert (attempt["expert"], attempt["kind"], attempt["status"]) == ("alpha", "unusable", 200)
    assert key.spent_usd == pytest.approx(upstream.billed_usd)
    assert told["cost_usd"] == pytest.approx(upstream.billed_usd)
    metrics = asyncio.run(gateway.ledger.figures()).decode()
    reason = attempt["reason"]
    assert (
        f'leeroo_unusable_answers_total{{expert="alpha",form="{told["form"]}",reason="{reason}"}} 1.0'
        in metrics
    )
    assert f'leeroo_answers_judged_total{{expert="beta",form="{told["form"]}"}} 1.0' in metrics


def test_where_nobody_gives_a_usable_answer_the_best_that_was_paid_is_given(run, upstream):
    async def scenario(gateway, caller):
        return await gateway.answer(request_for("it", **under(SCHEMA)), caller)

    plans = {"it@alpha": Plan(says=text("{}")), "it@beta": Plan(says=text("I cannot answer this."))}
    _, key, answer = run(scenario, plans)
    assert answer["choices"][0]["message"]["content"] == "{}"
    told = answer["leeroo"]
    assert (told["expert"], told["unusable"]) == ("alpha", "schema_violated")
    assert [(one["expert"], one["reason"]) for one in told["tried"]] == [("beta", "refused")]
    assert key.spent_usd == pytest.approx(upstream.billed_usd)


@pytest.mark.parametrize("fields", [{"model": "alpha"}, {"max_experts_asked": 1}, {"experts": ["alpha"]}])
@pytest.mark.parametrize("stream", [False, True])
def test_who_wants_one_expert_gets_its_answer_as_it_is(run, upstream, fields, stream):
    async def scenario(gateway, caller):
        return await whole(gateway, caller, request_for("it", stream=stream, **(under(SCHEMA) | fields)))

    _, key, answer = run(scenario, {"it": Plan(words=3)})
    assert asked(upstream) == ["alpha"]
    assert answer["choices"][0]["message"]["content"].strip() == "word word word"
    assert answer["leeroo"]["unusable"] == "not_json"
    assert key.spent_usd == pytest.approx(upstream.billed_usd)


def test_an_attempt_that_failed_is_no_answer_and_does_not_count(run, upstream):
    async def scenario(gateway, caller):
        return await gateway.answer(request_for("it", max_experts_asked=1, **under(SCHEMA)), caller)

    _, _, answer = run(scenario, {"it@alpha": Plan(status=503), "it@beta": Plan(says=text(SOUND))})
    assert asked(upstream) == ["alpha", "beta"]
    assert answer["leeroo"]["expert"] == "beta"


def test_an_unusable_answer_is_no_outage(run, upstream):
    async def scenario(gateway, caller):
        for _ in range(5):
            await gateway.answer(request_for("it", **under(SCHEMA)), caller)

    gateway, _, _ = run(scenario, {"it@alpha": Plan(says=text("no")), "it@beta": Plan(says=text(SOUND))})
    assert asked(upstream) == ["alpha", "beta"] * 5
    assert gateway.breaker.resting(["alpha", "beta"], "anyone") == ()


@pytest.mark.parametrize(
    "second",
    [
        Plan(status=500, raw=b'{"error": {"message": "no"}}'),
        Plan(breaks="before"),
        Plan(breaks="within", words=9),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_expert_that_dies_between_two_asks_leaves_the_answer_that_was_paid(run, upstream, second, stream):
    async def scenario(gateway, caller):
        return await whole(gateway, caller, request_for("it", stream=stream, **under(SCHEMA)))

    _, key, answer = run(scenario, {"it@alpha": Plan(says=text("Lima")), "it@beta": second})
    assert asked(upstream) == ["alpha", "beta"]
    assert answer["choices"][0]["message"]["content"] == "Lima"
    told = answer["leeroo"]
    assert (told["expert"], told["unusable"]) == ("alpha", "not_json")
    assert [one["expert"] for one in told["tried"]] == ["beta"]
    assert key.spent_usd >= upstream.billed_usd


@pytest.mark.parametrize("stream", [False, True])
def test_one_that_stalls_after_half_is_left_and_the_next_answers(run, upstream, stream):
    async def scenario(gateway, caller):
        return await whole(gateway, caller, request_for("it", stream=stream, **under(SCHEMA)))

    plans = {"it@alpha": Plan(words=30, pace_s=0.02), "it@beta": Plan(says=text(SOUND))}
    _, key, answer = run(scenario, plans, timeout_s=0.2)
    assert asked(upstream) == ["alpha", "beta"]
    assert answer["leeroo"]["tried"][0]["kind"] == "timeout"
    assert answer["choices"][0]["message"]["content"] == SOUND
    assert key.spent_usd >= upstream.billed_usd


@pytest.mark.parametrize("stream", [False, True])
def test_a_cap_that_is_hit_between_two_asks_ends_them(run, upstream, stream):
    request = request_for("it", stream=stream, **under(SCHEMA))
    bound_usd = asks_of([spec_of("alpha", upstream)], request.for_expert())["alpha"].most_usd

    async def scenario(gateway, caller):
        return await whole(gateway, caller, request)

    plans = {"it@alpha": Plan(says=text("no"), words=40), "it@beta": Plan(says=text(SOUND))}
    _, key, answer = run(scenario, plans, budget_usd=bound_usd + 1e-6)
    assert asked(upstream) == ["alpha"]
    assert answer["choices"][0]["message"]["content"] == "no"
    assert answer["leeroo"]["unusable"] == "not_json"
    assert key.spent_usd == pytest.approx(upstream.billed_usd)
    _, key, answer = run(scenario, plans, budget_usd=2 * bound_usd)
    assert asked(upstream) == ["alpha", "beta"]
    assert answer["leeroo"]["unusable"] is None
    assert key.spent_usd == pytest.approx(upstream.billed_usd)


class SlowToExtend(WatchedLedger):
    """Takes its time to set more aside, and tells when it was asked to."""

    asked_for_more: asyncio.Event

    async def extend(self, extension):
        self.asked_for_more.set()
        await asyncio.sleep(0.1)
        return await super().extend(extension)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_between_two_asks_pays_for_the_first_alone(run, upstream, stream):
    async def scenario(gateway, caller):
        gateway.ledger.asked_for_more = asyncio.Event()
        request = request_for("it", stream=stream, **under(SCHEMA))
        work = asyncio.ensure_future(whole(gateway, caller, request))
        await gateway.ledger.asked_for_more.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await asyncio.sleep(0.15)

    plans = {"it@alpha": Plan(says=text("no")), "it@beta": Plan(says=text(SOUND))}
    _, key, _ = run(scenario, plans, ledger_type=SlowToExtend)
    assert asked(upstream) == ["alpha"]
    assert key.spent_usd == pytest.approx(upstream.billed_usd)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_while_the_second_works_pays_for_both(run, upstream, stream, monkeypatch):
    monkeypatch.setattr("serve.request.usable.held_stream.PATIENCE_S", 0.02)

    async def scenario(gateway, caller):
        request = request_for("it", stream=stream, **under(SCHEMA))
        work = asyncio.ensure_future(whole(gateway, caller, request))
        while len(upstream.requests) < 2:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await asyncio.sleep(0.3)

    plans = {"it@alpha": Plan(says=text("no")), "it@beta": Plan(words=10, pace_s=0.02)}
    gateway, key, _ = run(scenario, plans)
    assert asked(upstream) == ["alpha", "beta"]
    assert upstream.billed_usd <= key.spent_usd <= max(gateway.ledger.reserved.values())


def test_a_restricted_key_learns_of_nobody_else(run, upstream):
    async def scenario(gateway, caller):
        return await gateway.answer(request_for("it", **under(SCHEMA)), caller)

    plans = {"it@alpha": Plan(says=text("no")), "it@beta": Plan(says=text(SOUND))}
    _, _, answer = run(scenario, plans, experts=("alpha",))
    assert asked(upstream) == ["alpha"]
    assert "beta" not in json.dumps(answer)


BAD_SCHEMAS = [
    {"type": "strin"},
    {"$ref": "http://127.0.0.1:9/it.json"},
    {"$ref": "#/$defs/none"},
    {"type": "string", "pattern": "("},
    {"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]},
    7,
]


@pytest.mark.parametrize("schema", BAD_SCHEMAS)
@pytest.mark.parametrize("model", ["leeroo", "alpha"])
def test_a_schema_that_is_none_is_refused_before_anything_is_asked(run, upstream, schema, model):
    async def scenario(gateway, caller):
        with pytest.raises(ApiError) as refused:
            await gateway.answer(request_for("it", model=model, **under(schema)), caller)
        assert gateway.ledger.reserved == {}
        return refused.value

    _, key, refused = run(scenario, {})
    assert (refused.status, refused.code, refused.param) == (400, "invalid_schema", "response_format")
    assert upstream.requests == []
    assert key.spent_usd == 0
