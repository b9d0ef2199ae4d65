"""Several experts for one answer, served: as the evaluation's replay has it, and with books that hold.

The policy, the gateway, the ledger, the upstream and its client are the real ones; only Ray is left out.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from fake_experts import LocalLedger
from hostile_upstream import USD_PER_TOKEN, Plan
from test_falling_through import SlowToExtend, asked, text, whole
from test_money import WatchedLedger, finish, spec_of

from experts import ExpertSpec
from experts.forms import LongText, OptionLetter
from experts.upstream import Usage
from orchestrator import Decision
from orchestrator.asking.beliefs import AnswerModel
from orchestrator.asking.habits import Habits
from orchestrator.asking.lengths import AnswerLengths
from orchestrator.asking.readings import Readings
from orchestrator.asking.replay import replay
from orchestrator.predictors.base import Prediction
from orchestrator.selection.presets import Preset
from orchestrator.selection.value import net_value
from serve.config import ServeConfig
from serve.experts.client import WholeAnswer
from serve.experts.direct import DirectClient
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import hash_secret
from serve.request.asking.by_plan import asks_several
from serve.request.cost_bounds import asks_of
from serve.request.gateway import Gateway
from serve.router.messages import Ruling
from serve.wire.api_errors import ApiError
from serve.wire.protocol import ChatRequest
from warehouse import InputError

OPTIONS = "Which is a city?\nA. Peru\nB. Lima\nC. Chile\nD. Bern\nAnswer:"
NAMES = ("alpha", "beta", "gamma", "delta")


def habits_of(names):
    """Experts whose answers hang together a little, and of whose further answers much is expected."""
    m = len(names)
    model = AnswerModel(np.full(m, 1.3), np.full(m, 0.4), 0.03)
    return Habits(
        tuple(names), np.ones(m, bool), np.full(m, 0.02), model, np.ones(3), AnswerLengths.silent(m)
    )


class Forecasts:
    """A router whose forecasts a test wrote down, by the number of the question in its text."""

    def __init__(self, names, success, cost_usd, multiplier, habits):
        self.names, self.success, self.cost_usd = names, success, cost_usd
        self.multiplier, self.habits = multiplier, habits

    async def presets(self):
        return {"quality": Preset(0.0)}

    async def decide(self, query):
        if query.preset not in (None, "quality"):
            raise InputError(f"no preset is called {query.preset!r}")
        row = int(query.text.split()[0]) if query.text[0].isdigit() else 0
        success, cost_usd = self.success[row], self.cost_usd[row]
        allowed = [j for j, name in enumerate(self.names) if name in query.allow and name not in query.deny]
        value = net_value(success, cost_usd, self.multiplier)
        order = sorted(allowed, key=lambda j: (-value[j], cost_usd[j]))
        named = [self.names[j] for j in order]
        decision = Decision(
            named[0],
            tuple(named[1:]),
            dict(zip(self.names, success.tolist(), strict=True)),
            dict(zip(self.names, cost_usd.tolist(), strict=True)),
            self.multiplier,
            "told so",
        )
        return Ruling(decision, "v1", habits=self.habits if query.wants_habits else None)

    async def version(self):
        return "v1"


class Recorded:
    """An expert that answers as it was recorded; its usage is its bill."""

    at_once = None

    def __init__(self, name, letters, tokens):
        price = {"usd_per_mtok_in": 1.0, "usd_per_mtok_out": 1.0}
        self.spec = ExpertSpec(
            name=name, backend="openai", model=name, base_url="http://127.0.0.1:9/v1", price=price,
            context_tokens=8_000,
        )  # fmt: skip
        self.letters, self.tokens, self.asked = letters, tokens, []
        self.pause_s, self.began = 0.0, []

    async def is_running(self):
        return True

    async def answer(self, ask, timeout_s):
        row = int(ask.body["messages"][-1]["content"].split()[0])
        self.asked.append(row)
        self.began.append(time.monotonic())
        await asyncio.sleep(self.pause_s)
        usage = Usage(int(self.tokens[row]), 1)
        message = {"role": "assistant", "content": self.letters[row]}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        body = {"id": "c", "object": "chat.completion", "created": 1, "model": self.spec.name}
        return WholeAnswer(body | {"choices": choices, "usage": usage.to_openai()}, usage)


def recorded_pool(seed, n=80):
    """Answers of four experts to questions of four options, some of which cannot be read."""
    rng = np.random.default_rng(seed)
    ease, skill = rng.normal(size=(n, 1)), np.array([-0.2, 0.3, 0.6, 1.2])
    success = 1 / (1 + np.exp(-(skill + 0.5 * ease + rng.normal(0, 0.3, (n, 4)))))
    right = rng.random((n, 4)) < success
    letters = np.where(right, "B", rng.choice(list("ACD"), (n, 4))).astype(object)
    letters[rng.random((n, 4)) < 0.08] = "Let me think about it"
    tokens = rng.integers(20, 40, (n, 4)) * np.array([1, 1, 2, 3])
    return success, letters, tokens, (tokens + 1) * 1e-6


@pytest.mark.parametrize("multiplier", [0.0, 30.0, 300.0, 3_000.0, 50_000.0])
def test_the_endpoint_does_what_the_replay_of_the_evaluation_does(tmp_path, multiplier):
    success, letters, tokens, cost_usd = recorded_pool(7)
    habits, n = habits_of(NAMES), len(letters)
    expected = np.tile(cost_usd.mean(axis=0), (n, 1))
    keys = np.where(np.isin(letters.astype(str), list("ABCD")), letters, None)
    readings = Readings.from_keys(keys, np.ones((n, 4), bool), np.full(n, 0.25))
    (said,) = replay(habits, Prediction(NAMES, success, expected), cost_usd, readings, [multiplier])

    config = ServeConfig(home=tmp_path, access="open")
    experts = {name: Recorded(name, letters[:, j], tokens[:, j]) for j, name in enumerate(NAMES)}
    router = Forecasts(NAMES, success, expected, multiplier, habits)
    gateway = Gateway(config, router, LocalLedger(config), experts)

    async def go():
        caller = await gateway.ledger.identify("")
        answers = []
        for row in range(n):
            messages = [{"role": "user", "content": f"{row} is its number. {'x' * 300} {OPTIONS}"}]
            request = ChatRequest(model="leeroo:ensemble", messages=messages, max_tokens=8)
            answers.append(await gateway.answer(request, caller))
        await gateway.drain(10)
        return answers

    answers = asyncio.run(go())
    served = [(a["leeroo"]["expert"], a["choices"][0]["message"]["content"]) for a in answers]
    assert served == [(NAMES[j], letters[row, j]) for row, j in enumerate(said.answered)]
    assert [a["leeroo"]["cost_usd"] for a in answers] == pytest.approx(said.paid_usd.tolist(), abs=1e-12)
    for j, name in enumerate(NAMES):
        assert sorted(experts[name].asked) == np.flatnonzero(said.asked[:, j]).tolist()
    told = [a["leeroo"]["probability"] for a in answers if "probability" in a["leeroo"]]
    usable = np.isin(letters[np.arange(n), said.answered].astype(str), list("ABCD"))
    assert told == pytest.approx(said.probability[usable].tolist(), abs=1e-4)
    if multiplier == 0:
        assert said.asked.sum() > 1.5 * n  # it does ask several


class Wordy(Recorded):
    """An expert that writes at length; how long its answer is, is told in its usage."""

    finish = "stop"

    async def answer(self, ask, timeout_s):
        answer = await super().answer(ask, timeout_s)
        usage = Usage(answer.usage.prompt_tokens, int(self.letters[self.asked[-1]].split()[0]))
        (choice,) = answer.body["choices"]
        choices = [choice | {"finish_reason": self.finish}]
        return WholeAnswer(answer.body | {"usage": usage.to_openai(), "choices": choices}, usage)


@pytest.mark.parametrize("multiplier", [0.0, 300.0])
def test_answers_that_cannot_be_compared_are_doubted_by_their_length_as_in_the_replay(tmp_path, multiplier):
    rng, n, m = np.random.default_rng(5), 60, len(NAMES)
    success, written = rng.uniform(0.3, 0.9, (n, m)), rng.integers(20, 3_000, (n, m))
    read = rng.integers(20, 40, (n, m))
    cost_usd = (read + written) * 1e-6
    expected = np.tile(cost_usd.mean(axis=0), (n, 1))
    lengths = AnswerLengths(np.full(m, 6.0), np.ones(m), np.tile([0.0, -1.0, 0.0], (m, 1)), 0.8)
    habits = replace(habits_of(NAMES), lengths=lengths)
    readings = Readings.incomparable(np.ones((n, m), bool), written.astype(np.float32))
    alone = habits.without_comparison()
    (said,) = replay(alone, Prediction(NAMES, success, expected), cost_usd, readings, [multiplier])

    config = ServeConfig(home=tmp_path, access="open")
    texts = np.array([[f"{long} words of prose." for long in row] for row in written], object)
    experts = {name: Wordy(name, texts[:, j], read[:, j]) for j, name in enumerate(NAMES)}
    gateway = Gateway(
        config, Forecasts(NAMES, success, expected, multiplier, habits), LocalLedger(config), experts
    )

    async def go():
        caller = await gateway.ledger.identify("")
        answers = []
        for row in range(n):
            messages = [{"role": "user", "content": f"{row} is its number. Write an essay about the sea."}]
            request = ChatRequest(model="leeroo:ensemble", messages=messages)
            answers.append(await gateway.answer(request, caller))
        await gateway.drain(10)
        return answers

    answers = asyncio.run(go())
    assert [a["leeroo"]["expert"] for a in answers] == [NAMES[j] for j in said.answered]
    assert [a["leeroo"]["cost_usd"] for a in answers] == pytest.approx(said.paid_usd.tolist(), abs=1e-12)
    for j, name in enumerate(NAMES):
        assert sorted(experts[name].asked) == np.flatnonzero(said.asked[:, j]).tolist()
    if multiplier == 0:
        assert 1.2 * n < said.asked.sum() < 2.5 * n  # some answers are doubted
    for row, answer in enumerate(answers):
        told = answer["leeroo"]
        if said.asked[row].sum() == 1:
            assert "one expert alone" in told["reason"]
            assert "asked" not in told
        else:
            assert "by their lengths" in told["reason"]
            assert [one["agrees"] for one in told["asked"]] == [None] * said.asked[row].sum()

    for expert in experts.values():
        expert.asked.clear()
        expert.finish = "length"  # cut off: how long it would have been, nobody knows
    asyncio.run(go())
    assert sum(len(expert.asked) for expert in experts.values()) == n


def test_who_streams_a_long_text_does_not_wait_for_its_length():
    habits = replace(
        habits_of(NAMES),
        lengths=AnswerLengths(np.full(4, 6.0), np.ones(4), np.tile([0.0, -1.0, 0.0], (4, 1))),
    )

    def several(form, habits, stream):
        ruling = SimpleNamespace(habits=habits)
        request = SimpleNamespace(n=1, stream=stream)
        return asks_several(
            SimpleNamespace(
                plan=SimpleNamespace(ruling=ruling), form=form, request=request, most_answers=4, order=NAMES
            )
        )

    text, letter = LongText(), OptionLetter(("Peru", "Lima"))
    assert several(text, habits, False)
    assert not several(text, habits, True)
    assert not several(text, habits_of(NAMES), False)  # nothing is told by lengths
    assert several(letter, habits, True)
    assert several(letter, habits_of(NAMES), True)


@pytest.mark.parametrize("multiplier", [0.0, 300.0])
def test_two_at_once_are_served_as_the_table_has_them(tmp_path, monkeypatch, multiplier):
    success, letters, tokens, cost_usd = recorded_pool(seed=3, n=40)
    habits, n = habits_of(NAMES), len(letters)
    expected = np.tile(cost_usd.mean(axis=0), (n, 1))
    keys = np.where(np.isin(letters.astype(str), list("ABCD")), letters, None)
    readings = Readings.from_keys(keys, np.ones((n, 4), bool), np.full(n, 0.25))
    prediction = Prediction(NAMES, success, expected)
    (said,) = replay(habits, prediction, cost_usd, readings, [multiplier], side_by_side=True)

    experts = {name: Recorded(name, letters[:, j], tokens[:, j]) for j, name in enumerate(NAMES)}
    config = ServeConfig(home=tmp_path, access="open")
    gateway = Gateway(
        config, Forecasts(NAMES, success, expected, multiplier, habits), LocalLedger(config), experts
    )
    monkeypatch.setattr(gateway.latencies, "note", lambda *_: None)
    for name, expert in experts.items():
        gateway.latencies._seconds[name] = 20.0  # one is in time, two in turn are not
        expert.pause_s = 0.02

    async def go():
        caller = await gateway.ledger.identify("")
        answers = []
        for row in range(n):
            messages = [{"role": "user", "content": f"{row} is its number. {'x' * 300} {OPTIONS}"}]
            request = ChatRequest(
                model="leeroo:ensemble", messages=messages, max_tokens=8, max_latency_s=35.0
            )
            answers.append(await gateway.answer(request, caller))
        await gateway.drain(10)
        return answers

    answers = asyncio.run(go())
    read = readings.classes[np.arange(n), said.first] >= 0
    assert read.mean() > 0.8
    for row in np.flatnonzero(read):
        told = answers[row]["leeroo"]
        assert told["expert"] == NAMES[said.answered[row]]
        assert told["cost_usd"] == pytest.approx(said.paid_usd[row], abs=1e-12)
        assert {one["expert"] for one in told["asked"]} == {NAMES[j] for j in np.flatnonzero(said.asked[row])}
    if multiplier == 0:
        assert (said.waits < said.asked.sum(axis=1)).mean() > 0.5  # two do come at once


SHAKY = np.array([[0.5, 0.5, 0.5, 0.5]])
CHEAP = np.full((1, 4), 1e-6)


@pytest.fixture
def run(upstream, tmp_path):
    """Run a scenario with a gateway whose router is unsure of everybody; all is settled when it returns."""

    def run(scenario, plans, *, names=NAMES, budget_usd=1.0, ledger_type=WatchedLedger, **fields):
        async def go():
            config = ServeConfig(home=tmp_path, access="keys", deadline_s=5.0)
            experts = {
                name: DirectClient(spec_of(name, upstream, **({"timeout_s": 20} | fields))) for name in names
            }
            m = len(names)
            router = Forecasts(names, SHAKY[:, :m], CHEAP[:, :m], 0.0, habits_of(names))
            gateway = Gateway(config, router, ledger_type(config), experts)
            keys = Ledger(config.home / LEDGER_FILE)
            key_id, secret = keys.create_key(f"k{len(keys.list_keys())}", budget_usd=budget_usd)
            caller = await gateway.ledger.identify(hash_secret(secret))
            result = await scenario(gateway, caller)
            await finish(gateway)
            (key,) = [one for one in keys.list_keys() if one.key_id == key_id]
            assert key.reserved_usd == 0
            return gateway, key, result

        upstream.plans.clear()
        upstream.plans.update(plans)
        upstream.bills.clear()
        upstream.requests.clear()
        return asyncio.run(go())

    return run


def request_for(name="it", *, said=OPTIONS, model="leeroo:ensemble", **fields):
    messages = [{"role": "user", "content": f"#{name}# {said}"}]
    return ChatRequest(model=model, messages=messages, **({"max_tokens": 30} | fields))


def votes(**by_model):
    return {f"it@{name}": Plan(says=text(said)) for name, said in by_model.items()}


@pytest.mark.parametrize("stream", [False, True])
def test_the_reply_says_who_was_asked_who_agreed_how_sure_and_what_each_cost(run, upstream, stream):
    async def scenario(gateway, caller):
        return await whole(gateway, caller, request_for(stream=stream))

    plans = votes(alpha="A", beta="The answer is B.", gamma="B", delta="Lima")
    _, key, answer = run(scenario, plans)
    told, content = answer["leeroo"], answer["choices"][0]["message"]["content"]
    assert content in ("The answer is B.", "B", "Lima")
    by_name = {one["expert"]: one for one in told["asked"]}
    assert [one["expert"] for one in told["asked"]] == asked(upstream)
    assert len(by_name) == len(asked(upstream)) >= 3
    assert all(one["agrees"] == (name != "alpha") for name, one in by_name.items())
    assert 0.5 < told["probability"] < 1
    assert sum(one["cost_usd"] for one in told["asked"]) == pytest.approx(told["cost_usd"])
    assert told["cost_usd"] == pytest.approx(upstream.billed_usd) == key.spent_usd
    assert f"{len(by_name) - 1} of {len(by_name)} experts asked say this" in told["reason"]


@pytest.mark.parametrize(
    ("fields", "most"),
    [({"max_experts_asked": 1}, 1), ({"max_experts_asked": 3}, 3), ({"experts": ["beta"]}, 1)],
)
def test_a_request_says_how_many_may_be_asked(run, upstream, fields, most):
    async def scenario(gateway, caller):
        return await gateway.answer(request_for(**fields), caller)

    run(scenario, votes(alpha="A", beta="B", gamma="C", delta="D"))
    assert len(asked(upstream)) == most


@pytest.mark.parametrize("stream", [False, True])
def test_where_agreement_means_nothing_one_expert_answers_and_the_reply_says_so(run, upstream, stream):
    async def scenario(gateway, caller):
        return await whole(
            gateway, caller, request_for(said="Write me a poem.", stream=stream, max_tokens=900)
        )

    _, _, answer = run(scenario, {})
    assert len(asked(upstream)) == 1
    assert "nothing to compare answers by" in answer["leeroo"]["reason"]
    assert "asked" not in answer["leeroo"]


def test_the_stricter_limit_of_key_and_request_holds(run, upstream):
    async def scenario(gateway, caller):
        strict = replace(caller, max_experts_asked=1, max_latency_s=0.3)
        await gateway.answer(request_for(max_experts_asked=4), strict)
        with pytest.raises(ApiError) as late:
            await gateway.answer(request_for("slow", max_latency_s=9), strict)
        return late.value.status

    plans = votes(alpha="A", beta="B", gamma="C", delta="D") | {"slow": Plan(begin_s=1.0)}
    assert run(scenario, plans)[2] == 504
    assert len(asked(upstream)) == 2  # one for each request


def test_plain_routing_asks_one(run, upstream):
    async def scenario(gateway, caller):
        return await gateway.answer(request_for(model="leeroo"), caller)

    run(scenario, votes(alpha="A", beta="B", gamma="C", delta="D"))
    assert len(asked(upstream)) == 1


def test_time_that_is_short_ends_the_plan_with_what_is_there(run, upstream):
    slow = {
        f"it@{name}": Plan(says=text(said), begin_s=0.4) for name, said in zip(NAMES, "ABCD", strict=True)
    }

    async def scenario(gateway, caller):
        first = await gateway.answer(request_for(max_latency_s=0.6), caller)
        many = len(asked(upstream))
        for name in NAMES:  # now it is known how long they take
            await gateway.answer(request_for(experts=[name]), caller)
        before = len(asked(upstream))
        second = await gateway.answer(request_for(max_latency_s=0.6), caller)
        return first, many, second, len(asked(upstream)) - before

    _, key, (first, many, second, then) = run(scenario, slow)
    assert first["leeroo"]["latency_s"] < 1.0
    assert first["choices"][0]["message"]["content"] in "ABCD"
    assert many == 2  # the second was broken off: it is charged all the same
    assert then == 2  # at once: one after the other they would be late
    assert second["leeroo"]["latency_s"] < 0.6
    assert key.spent_usd >= upstream.billed_usd


def test_no_answer_in_time_is_a_504(run, upstream):
    async def scenario(gateway, caller):
        with pytest.raises(ApiError) as refused:
            await gateway.answer(request_for(max_latency_s=0.2), caller)
        return refused.value

    _, _, error = run(scenario, {"it": Plan(begin_s=1.0)})
    assert error.status == 504


FAULTS = [
    Plan(status=500, raw=b'{"error": {"message": "no"}}'),
    Plan(breaks="before"),
    Plan(breaks="within", words=9),
    Plan(status=429, raw=b'{"error": {"message": "busy"}}', bills=False),
    Plan(says=text("Let me think")),
    Plan(says=text("")),
    *(Plan(says=text(letter)) for letter in "ABCD"),
]


@given(cases=st.lists(st.tuples(*[st.sampled_from(FAULTS)] * 4, st.booleans()), min_size=1, max_size=12))
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_whatever_they_say_nobody_is_asked_twice_and_the_books_hold(run, upstream, cases):
    plans = {
        f"c{number}@{name}": plan
        for number, (*of_each, _) in enumerate(cases)
        for name, plan in zip(NAMES, of_each, strict=True)
    }

    async def scenario(gateway, caller):
        async def one(number, stream):
            try:
                return await whole(gateway, caller, request_for(f"c{number}", stream=stream))
            except ApiError as error:
                return error

        return await asyncio.gather(*(one(number, case[-1]) for number, case in enumerate(cases)))

    _, key, answers = run(scenario, plans)
    for number, (answer, (*of_each, _)) in enumerate(zip(answers, cases, strict=True)):
        models = [request["model"] for request in upstream.requests if f"#c{number}#" in str(request)]
        assert len(models) == len(set(models))
        could = [plan for plan in of_each if plan.says is not None and plan.says["content"] in tuple("ABCD")]
        if isinstance(answer, ApiError):
            assert not any(plan.says is not None for plan in of_each)
            continue
        if could:
            assert answer["choices"][0]["message"]["content"] in tuple("ABCD")
            assert answer["leeroo"]["unusable"] is None
    assert key.spent_usd >= upstream.billed_usd - 1e-12


@pytest.mark.parametrize("stream", [False, True])
def test_a_cap_that_is_hit_between_two_asks_ends_them(run, upstream, stream):
    request = request_for(stream=stream)
    bound_usd = asks_of([spec_of("alpha", upstream)], request.for_expert())["alpha"].most_usd

    async def scenario(gateway, caller):
        return await whole(gateway, caller, request)

    plans = votes(alpha="A", beta="B", gamma="C", delta="D")
    _, key, answer = run(scenario, plans, budget_usd=bound_usd + USD_PER_TOKEN)
    assert len(asked(upstream)) == 1
    assert answer["choices"][0]["message"]["content"] in "ABCD"
    assert key.spent_usd == pytest.approx(upstream.billed_usd)
    assert key.spent_usd <= bound_usd


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_between_two_asks_pays_for_what_was_asked_alone(run, upstream, stream):
    async def scenario(gateway, caller):
        gateway.ledger.asked_for_more = asyncio.Event()
        work = asyncio.create_task(whole(gateway, caller, request_for(stream=stream)))
        await gateway.ledger.asked_for_more.wait()
        work.cancel()
        await asyncio.wait({work})

    plans = {name: replace(plan, words=30) for name, plan in votes(alpha="A", beta="B", gamma="C").items()}
    _, key, _ = run(scenario, plans, ledger_type=SlowToExtend)
    assert len(asked(upstream)) == 1
    assert key.spent_usd == pytest.approx(upstream.billed_usd)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"min_success": 0.5}, "min_success"),
        ({"model": "leeroo:ensemble:nope"}, "no preset 'nope'; there are quality"),
        ({"model": "leeroo:nope"}, "no preset 'nope'; there are quality"),
        ({"model": "leeroo:ensemble:quality:economy"}, "no model"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(run, upstream, fields, words):
    async def scenario(gateway, caller):
        with pytest.raises(ApiError) as refused:
            await gateway.answer(request_for(**fields), caller)
        return refused.value

    _, key, error = run(scenario, {})
    assert words in str(error.body())
    assert asked(upstream) == []
    assert key.spent_usd == 0
