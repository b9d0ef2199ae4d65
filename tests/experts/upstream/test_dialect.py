"""Requests in an API's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts import load_catalogue
from experts.catalogue.dialect import LIMITS, PRESETS
from experts.upstream import Dialect, ask_of, word_request
from tests.experts.upstream.scripted_socket import make_spec
from warehouse import InputError

MESSAGES = [{"role": "user", "content": "Hello."}]


def word(dialect: Any, **fields: Any) -> dict[str, Any]:
    spec = make_spec(dialect=dialect, max_tokens=64, temperature=0.5)
    return word_request(spec, {"messages": MESSAGES, **fields})[0]


def test_without_a_dialect_the_catalogues_sampling_stands_in() -> None:
    assert word({}) == {"messages": MESSAGES, "model": "m", "temperature": 0.5, "max_tokens": 64}
    assert word({}, max_completion_tokens=5, temperature=1)["temperature"] == 1
    assert "max_tokens" not in word({}, max_completion_tokens=5)


def test_each_rule() -> None:
    assert word({"rename": {"max_tokens": "max_completion_tokens"}})["max_completion_tokens"] == 64
    assert "temperature" not in word({"drop": ["temperature"]})
    assert word({"default": {"top_p": 0.8}})["top_p"] == 0.8
    assert word({"default": {"top_p": 0.8}}, top_p=0.1)["top_p"] == 0.1
    assert word({"cap": {"max_tokens": 10}})["max_tokens"] == 10
    assert word({"cap": {"temperature": 0.2}})["temperature"] == 0.2
    assert word({"body": {"provider": {"sort": "price"}}})["provider"] == {"sort": "price"}
    assert word_request(make_spec(dialect={"headers": {"X-Title": "x"}}), {})[1] == {"X-Title": "x"}


def test_a_preset_and_what_is_given_beside_it() -> None:
    both = Dialect.model_validate(
        {"preset": "openai-reasoning", "drop": ["seed"], "rename": {"user": "safety_identifier"}}
    )
    assert {"temperature", "seed"} <= set(both.drop)
    assert both.rename == {"max_tokens": "max_completion_tokens", "user": "safety_identifier"}
    assert Dialect.model_validate("azure").key_header == "api-key"


rules = st.fixed_dictionaries(
    {},
    optional={
        "preset": st.sampled_from(sorted(PRESETS)),
        "drop": st.lists(st.sampled_from([*LIMITS, "temperature", "top_p", "n"]), max_size=3),
        "rename": st.dictionaries(
            st.sampled_from([*LIMITS, "seed"]), st.sampled_from([*LIMITS, "random_seed"]), max_size=2
        ),
        "cap": st.dictionaries(
            st.sampled_from([*LIMITS, "temperature"]), st.integers(1, 40).map(float), max_size=2
        ),
    },
)
limits = st.integers(1, 100) | st.none()


@settings(max_examples=300, deadline=None)
@given(rule=rules, limit=limits, other=limits)
def test_no_dialect_sends_a_larger_limit_than_is_reckoned_with(rule: Any, limit: Any, other: Any) -> None:
    """The bound of a request holds for what is sent: no limit is lost, and none grows."""
    try:
        spec = make_spec(dialect=rule, context_tokens=None)
    except ValueError:
        return  # two fields under one name: refused
    body = {"messages": MESSAGES, "max_tokens": limit, "max_completion_tokens": other}
    names = {*LIMITS, *(spec.dialect.rename.get(name, name) for name in LIMITS)}
    sent = [value for name, value in word_request(spec, body)[0].items() if name in names]
    ask = ask_of(spec, body)
    if spec.dialect.sends_limit:
        assert sent
        assert max(sent) <= ask.most_completion_tokens
    else:
        assert ask.most_completion_tokens == float("inf")


@settings(max_examples=200, deadline=None)
@given(
    rule=rules,
    refused=st.lists(
        st.sampled_from([*LIMITS, "temperature", "top_p", "seed", "tools", "random_seed"]), max_size=6
    ),
)
def test_refusals_come_to_an_end_and_the_limit_stays(rule: Any, refused: list[str]) -> None:
    try:
        dialect = Dialect.model_validate(rule)
    except ValueError:
        return
    had_limit = dialect.sends_limit
    for name in refused:
        for _ in range(3):
            learned = dialect.without(name)
            if learned is None:
                break
            dialect = learned
        else:
            raise AssertionError(f"{name} is refused for ever")
    assert dialect.sends_limit == had_limit


WRONG: list[tuple[str, str]] = [
    ("dialect: mistrall", "unknown preset 'mistrall'"),
    ("dialect: {presets: azure}", "unknown field 'presets'"),
    ("dialect: {drop: [messages]}", "'messages' is what a request is made of"),
    ("dialect: {rename: {model: engine}}", "'model' is what a request is made of"),
    ("dialect: {default: {max_tokens: 9}}", "set `max_tokens:` of the expert"),
    ("dialect: {body: {n: 4}}", "'n' decides what a request may cost"),
    ("dialect: {body: {stream: true}}", "'stream' is what a request is made of"),
    ("dialect: {cap: {max_tokens: 0}}", "leaves nothing to ask with"),
    ("dialect: {cap: {temperature: .nan}}", "leaves nothing to ask with"),
    ("dialect: {headers: {Authorization: Bearer x}}", "api_key_env"),
    ('dialect: {headers: {X-A: "a\\nb"}}', "holds what no header can"),
    ("dialect: {headers: {'a b': x}}", "no name of an HTTP header"),
    ("dialect: {key_header: content-type}", "no header for a key"),
    ("dialect: 7", "dialect"),
    ("bills_failures: maybe", "bills_failures"),
    ("on_leave: run", "on_leave"),
]


@pytest.mark.parametrize(("line", "told"), WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_dialect_is_refused_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(InputError, match="line 5") as error:
        load(tmp_path, line)
    assert told in str(error.value)


def load(folder: Path, line: str) -> Any:
    path = folder / "catalogue.yaml"
    price = "price: {usd_per_mtok_in: 1, usd_per_mtok_out: 1}"
    path.write_text(f"experts:\n  - name: a\n    backend: openai\n    model: m\n    {line}\n    {price}\n")
    return load_catalogue(path).experts[0]


def test_yes_and_no_are_words_in_a_catalogue(tmp_path: Path) -> None:
    assert load(tmp_path, "bills_failures: no").bills_failures == "no"
    assert load(tmp_path, "bills_failures: yes").bills_failures == "yes"
    assert load(tmp_path, "bills_failures: unknown").bills_failures == "unknown"


def test_only_what_changes_answers_changes_the_version() -> None:
    plain = make_spec().version
    same: list[Any] = [
        {"headers": {"X-A": "b"}},
        {"rename": {"max_tokens": "max_completion_tokens"}},
        "azure",
        "openrouter",
    ]
    same += [{"cap": {"temperature": 2.0}}, {"drop": ["stream_options"]}]
    assert {make_spec(dialect=dialect).version for dialect in same} == {plain}
    other: list[Any] = [
        {"drop": ["temperature"]},
        {"body": {"reasoning_effort": "low"}},
        {"default": {"top_p": 0.5}},
        {"cap": {"max_tokens": 8}},
    ]
    assert len({make_spec(dialect=dialect).version for dialect in other} | {plain}) == 5
    assert make_spec(bills_failures="no", on_leave="finish").version == plain


def test_a_dialect_is_for_apis_alone() -> None:
    with pytest.raises(ValueError, match="dialect is for APIs"):
        make_spec(backend="vllm", base_url=None, dialect="vllm")


def test_every_preset_asks_a_request_that_has_a_limit() -> None:
    for name in PRESETS:
        worded = word(name, seed=1, user="u", logprobs=True)
        assert any(limit in worded for limit in LIMITS), name
        assert worded["messages"] == MESSAGES
