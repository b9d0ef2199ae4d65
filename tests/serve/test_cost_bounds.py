"""No request, however built, is billed above its reservation by an upstream that obeys its limits."""

import json
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from experts import ExpertSpec
from serve.request.cost_bounds import asks_of
from serve.wire.protocol import ChatRequest, TextRequest

#: What engines read of a request beside the messages, and render into the prompt.
READ = ("tools", "functions", "response_format", "tool_choice", "function_call", "prompt", "suffix")
ODD_TEXTS = ["", "日本語のテキスト", "🙂🙃", "a" * 300, "語" * 200, "\n\t ", '"\\', "é"]
TEXTS = st.text(max_size=40) | st.sampled_from(ODD_TEXTS)
SMALL = st.integers(1, 5)
LIMITS = st.none() | st.integers(1, 3_000)
SCHEMAS = st.recursive(
    TEXTS | st.integers(-9, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PARTS = st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
CALLS = st.builds(
    lambda name, text: {"id": name, "type": "function", "function": {"name": name, "arguments": text}},
    TEXTS,
    TEXTS,
)
MESSAGES = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "tool"]),
        "content": TEXTS | st.lists(PARTS, max_size=3),
    },
    optional={"name": TEXTS, "tool_calls": st.lists(CALLS, max_size=2), "tool_call_id": TEXTS},
)
SHARED = {
    "max_tokens": LIMITS,
    "n": st.none() | SMALL,
    "best_of": st.none() | SMALL,
    "user": TEXTS,
    "stop": TEXTS,
    "logit_bias": st.dictionaries(st.sampled_from("123"), st.integers(-5, 5), max_size=3),
    "seed": st.none() | st.integers(0, 9),
}
CHATS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, min_size=1, max_size=5)},
    optional=SHARED
    | {
        "max_completion_tokens": LIMITS,
        "tools": st.lists(
            st.fixed_dictionaries({"type": st.just("function"), "function": SCHEMAS}), max_size=3
        ),
        "functions": st.lists(SCHEMAS, max_size=2),
        "response_format": SCHEMAS,
        "tool_choice": TEXTS,
    },
)
COMPLETIONS = st.fixed_dictionaries(
    {"prompt": TEXTS.filter(bool) | st.lists(TEXTS.filter(bool), min_size=1, max_size=1)},
    optional=SHARED | {"suffix": TEXTS, "echo": st.booleans()},
)


def spec_with(**fields):
    price = {"usd_per_mtok_in": 3.0, "usd_per_mtok_out": 7.0}
    return ExpertSpec(name="e", backend="openai", model="m", max_tokens=77, price=price, **fields)


SPECS = st.builds(spec_with, context_tokens=st.sampled_from([None, 1_000, 4_000, 1_000_000]))


class Engine:
    """An upstream that obeys the limits it is told, and makes as much of them as can be."""

    def __init__(self, spec, *, wins, sums_best_of, bills_prompt_each):
        self.spec, self.wins = spec, wins
        self.sums_best_of, self.bills_prompt_each = sums_best_of, bills_prompt_each

    def bill_usd(self, body):
        """One token a byte of all that is read, and each answer as long as it may be."""
        window = self.spec.context_tokens or math.inf
        messages = body.get("messages") or []
        read = sum(len(str(leaf).encode()) for leaf in leaves([messages, [body.get(name) for name in READ]]))
        # The marks of a chat template, and a system prompt of the host.
        prompt = min(read + 45 * len(messages) + 30 + 240, window)
        n, best_of = body.get("n") or 1, body.get("best_of") or 1
        tries = n * best_of if self.sums_best_of else max(n, best_of)
        told = [limit for name in self.wins if (limit := body.get(name))]
        completion = min((told or [self.spec.max_tokens])[0], window - prompt) if prompt < window else 0
        times = tries if self.bills_prompt_each else 1
        return self.spec.price.cost_usd(float(prompt * times), float(completion * tries))


def leaves(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif value is not None:
        yield value


ENGINES = {
    "wins": st.permutations(["max_tokens", "max_completion_tokens"]),
    "sums_best_of": st.booleans(),
    "bills_prompt_each": st.booleans(),
}


def bound_usd(spec, body):
    return asks_of([spec], body)[spec.name].most_usd


def read(kind, fields):
    try:
        request = kind.model_validate_json(json.dumps(fields))
    except ValidationError:
        assume(False)
    return request.for_expert()


@pytest.mark.parametrize(("kind", "requests"), [(ChatRequest, CHATS), (TextRequest, COMPLETIONS)])
def test_no_request_is_billed_above_its_bound(kind, requests):
    @given(requests, SPECS, st.fixed_dictionaries(ENGINES))
    @settings(max_examples=400, deadline=None)
    def check(fields, spec, engine):
        body = read(kind, fields)
        assert Engine(spec, **engine).bill_usd(body) <= bound_usd(spec, body) * (1 + 1e-12)

    check()


@given(CHATS, SPECS)
@settings(max_examples=200, deadline=None)
def test_a_bound_is_not_much_above_the_dearest_bill(fields, spec):
    body = read(ChatRequest, fields)
    dearest = max(
        Engine(spec, wins=wins, sums_best_of=True, bills_prompt_each=True).bill_usd(body)
        for wins in (["max_tokens", "max_completion_tokens"], ["max_completion_tokens", "max_tokens"])
    )
    tries = (body.get("n") or 1) * (body.get("best_of") or 1)
    written = (
        3 * len(json.dumps(body)) + 100 * (1 + len(body["messages"])) + 300
    )  # marks of JSON, beside the texts
    window = spec.context_tokens or 0
    slack_usd = spec.price.cost_usd(float(written * tries), float(tries * min(window, 3_000)))
    assert bound_usd(spec, body) <= dearest + slack_usd


BODY = {"messages": [{"role": "user", "content": "hello"}]}


@given(n=SMALL, best_of=SMALL, limit=st.integers(1, 500))
def test_the_bound_grows_with_all_answers_that_are_made(n, best_of, limit):
    spec = spec_with()
    one = asks_of([spec], BODY | {"max_tokens": limit})["e"]
    many = asks_of([spec], BODY | {"max_tokens": limit, "n": n, "best_of": best_of})["e"]
    assert many.most_completion_tokens == n * best_of * limit == n * best_of * one.most_completion_tokens
    assert many.most_prompt_tokens >= n * best_of * one.most_prompt_tokens


def test_no_answer_is_longer_than_the_window():
    ask = asks_of([spec_with(context_tokens=1_000)], BODY | {"max_tokens": 3_000, "n": 2})["e"]
    assert (ask.most_prompt_tokens <= 2_000, ask.most_completion_tokens) == (True, 2_000)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}],
        [{"type": "text", "text": "hear"}, {"type": "input_audio", "input_audio": {"data": "AA=="}}],
        [{"type": "file", "file": {"file_id": "f"}}],
        [{"type": "something new"}],
        [{"text": "a part without a type"}],
    ],
)
def test_what_is_more_than_text_may_fill_the_window(content):
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 1}
    spec = spec_with(context_tokens=9_000)
    assert bound_usd(spec, body) == spec.price.cost_usd(9_000.0, 1.0)
    assert bound_usd(spec_with(), body) == math.inf
    spoken = {"messages": [{"role": "assistant", "content": None, "audio": {"id": "a"}}], "max_tokens": 1}
    assert bound_usd(spec_with(), spoken) == math.inf


@given(prompts=st.lists(TEXTS.filter(bool), min_size=1, max_size=4), limit=st.integers(1, 50))
def test_a_list_of_prompts_is_as_many_requests(prompts, limit):
    ask = asks_of([spec_with()], {"prompt": prompts, "max_tokens": limit})["e"]
    assert ask.most_completion_tokens == limit * len(prompts)
    assert ask.most_prompt_tokens >= sum(len(prompt.encode()) for prompt in prompts)
