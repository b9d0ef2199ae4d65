"""What a request needs, and who can serve it: writing systems, catalogue fields, rounds."""

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from experts import ExpertSpec, build_backend, load_catalogue
from experts.eligibility.fit import PromptTokens, find_lacks
from experts.eligibility.needs import find_needs
from experts.eligibility.scripts import script_of
from warehouse import InputError


def spec_of(**fields):
    price = {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1}
    return ExpertSpec(name="a", backend="openai", model="m", price=price, **fields)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("", None),
        ("12 + 30 = ?", None),
        ("Wie spät ist es? Ça va?", None),
        ("Как дела сегодня? Use `print()`.", "Cyrillic"),
        ("print('hello world') # Привет", None),
        ("今日はいい天気ですね", "Japanese"),
        ("今天天气很好", "Chinese"),
        ("안녕하세요", "Hangul"),
        ("مرحبا بالعالم", "Arabic"),
    ],
)
def test_writing_systems(text, script):
    assert script_of(text) == script


@given(st.text(max_size=300))
def test_any_text_has_a_writing_system_or_none(text):
    script = script_of(text)
    assert script is None or not text.isascii()


@given(
    characters=st.integers(0, 20_000),
    window=st.integers(200, 8_000),
    limit=st.none() | st.integers(1, 4_000),
    rate=st.floats(1, 6),
)
def test_a_prompt_that_fits_by_a_true_count_is_never_surely_too_long(characters, window, limit, rate):
    body = {"messages": [{"role": "user", "content": "x" * characters}]} | (
        {"max_tokens": limit} if limit else {}
    )
    true = int(characters / rate)
    spec = spec_of(context_tokens=window, max_tokens=8)
    room = limit or 8
    for is_exact in (True, False):
        lacks = find_lacks(
            spec, find_needs(body, ""), partial(lambda told, *_: told, PromptTokens(true, is_exact))
        )
        if true + room <= window:
            assert not any(lack.is_certain for lack in lacks)
        if is_exact and true + room > window:
            assert lacks
            assert lacks[0].is_certain
            assert lacks[0].what == "context_tokens"


def test_what_nobody_states_is_no_lack():
    body = {
        "messages": [],
        "tools": [{}],
        "response_format": {"type": "json_schema"},
        "reasoning_effort": "x",
    }
    assert find_lacks(spec_of(), find_needs(body, "Привет"), lambda *_: PromptTokens(10**9, True)) == ()


@pytest.mark.parametrize(
    "odd",
    [
        {"messages": None},
        {"messages": [1, None, {"content": [1, {"type": 3}], "tool_calls": 7}]},
        {"tools": "all", "response_format": "json"},
        {"prompt": ["a"], "parallel_tool_calls": "yes"},
    ],
)
def test_odd_bodies_have_needs_too(odd):
    needs = find_needs(odd, "")
    assert all(isinstance(text, str) for text in needs.texts())


def test_a_catalogue_states_what_its_experts_can(tmp_path):
    def entry(line):
        path = tmp_path / "catalogue.yaml"
        path.write_text(
            "experts:\n  - name: a\n    backend: openai\n    model: m\n"
            f"    {line}\n    price: {{usd_per_mtok_in: 1, usd_per_mtok_out: 1}}\n"
        )
        return load_catalogue(path).experts[0]

    spec = entry("capabilities: {tools: yes, vision: no, languages: [en, pt-BR]}")
    assert (spec.capabilities.tools, spec.capabilities.vision, spec.capabilities.audio) == (
        "yes",
        "no",
        "unknown",
    )
    assert spec.version == entry("tags: []").version, "what it can do changes no answer"
    with pytest.raises(InputError, match="unknown field 'tool'") as refused:
        entry("capabilities: {tool: yes}")
    assert "did you mean 'tools'" in str(refused.value)
    with pytest.raises(InputError, match="no language code"):
        entry("capabilities: {languages: [English]}")
    with pytest.raises(ValidationError):
        spec_of(capabilities={"tools": "maybe"})


def test_a_round_does_not_ask_what_surely_does_not_fit():
    """Nobody listens at that address: a question that is refused here is refused without a call."""
    spec = spec_of(base_url="http://127.0.0.1:9/v1", context_tokens=100, max_retries=0, scoring="generate")
    questions = pa.table(
        {
            "question_id": ["long", "russian"],
            "prompt": ["word " * 2_000, "Как дела? Где ты?"],
            "choices": pa.array([None, None], pa.list_(pa.string())),
            "kind": ["free", "free"],
            "source": ["x", "x"],
        }
    )
    spec = spec.model_copy(
        update={"capabilities": spec.capabilities.model_copy(update={"languages": ("en",)})}
    )
    errors = build_backend(spec).answer(questions)["error"].to_pylist()
    assert "context of 100 tokens" in errors[0]
    assert "Cyrillic" in errors[1]
    assert all(error.startswith("bad_request") for error in errors)
