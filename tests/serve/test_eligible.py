"""No request goes to an expert that states it cannot serve it: not first, not as a fallback, not by name."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import BROKEN, FixedRouter, LocalLedger, ScriptedExpert
from test_gateway import ask, both, endpoint, http

from experts.catalogue.capabilities import ABILITIES, Capabilities
from serve.config import ServeConfig
from serve.request.gateway import Gateway

NAMES = ("alpha", "beta", "gamma")
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "it", "schema": {"type": "object"}}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
FILE = {"type": "file", "file": {"file_id": "f"}}
CALLED = [
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c", "content": "12"},
]
#: What a request has that needs each ability: fields, turns before the question, parts of the question.
ASKING = {
    "tools": [({"tools": [TOOL]}, [], []), ({"functions": [{"name": "f"}]}, [], []), ({}, CALLED, [])],
    "parallel_tools": [({"tools": [TOOL], "parallel_tool_calls": True}, [], [])],
    "json_schema": [({"response_format": SCHEMA}, [], [])],
    "vision": [({}, [], [PICTURE])],
    "audio": [({}, [], [SOUND])],
    "files": [({}, [], [FILE])],
    "reasoning_effort": [({"reasoning_effort": "low"}, [], [])],
}
SAID = {
    None: "How far is it to Lima?",
    "ru": "Как далеко до Лимы?",
    "ja": "リマまでどのくらいですか",
    "zh": "到利马有多远",
}
ANSWERS_RUSSIAN = ("ru", "uk")


class Expert(ScriptedExpert):
    """Answers after so many failures, and states what it can do."""

    def __init__(self, name, capabilities, context_tokens=None, failures=0):
        super().__init__("smollm2-135m", *[BROKEN] * failures)
        self.spec = self.spec.model_copy(
            update={
                "name": name,
                "capabilities": Capabilities.model_validate(capabilities),
                "context_tokens": context_tokens,
                "backend": "openai",
                "model": name,
            }
        )


states = st.fixed_dictionaries(
    {},
    optional={name: st.sampled_from(["yes", "no", "unknown"]) for name in ABILITIES}
    | {"languages": st.sampled_from([["en"], ["en", "ru"], ["zh"], ["ja", "en"]])},
)


@st.composite
def requests(draw):
    wanted = draw(st.lists(st.sampled_from(ABILITIES), max_size=3, unique=True))
    language = draw(st.sampled_from(list(SAID)))
    fields, before, parts = {}, [], [{"type": "text", "text": SAID[language]}]
    for name in wanted:
        more, turns, others = draw(st.sampled_from(ASKING[name]))
        fields, before, parts = fields | more, before + turns, parts + others
    if "parallel_tools" in wanted:
        wanted.append("tools")
    messages = [{"role": "user", "content": "Hello"}, *before, {"role": "user", "content": parts}]
    return set(wanted), language, {"messages": messages, **fields}


def states_that_it_cannot(stated, wanted, language):
    """Say by the catalogue's words alone whether an expert must not be asked."""
    if any(stated.get(name) == "no" for name in wanted):
        return True
    languages = stated.get("languages")
    if language is None or not languages:
        return False
    return language not in languages and not (language == "zh" and "ja" in languages)


def served(tmp_path_factory, experts):
    config = ServeConfig(home=tmp_path_factory.mktemp("home"))
    return Gateway(config, FixedRouter(*NAMES), LocalLedger(config), {one.spec.name: one for one in experts})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stated=st.tuples(states, states, states),
    request=requests(),
    stream=st.booleans(),
    model=st.sampled_from(["leeroo", "leeroo:quality", *NAMES]),
    failures=st.sampled_from([0, 1, 2]),
)
def test_nobody_is_asked_who_states_that_it_cannot(
    tmp_path_factory, stated, request, stream, model, failures
):
    wanted, language, body = request
    experts = [Expert(name, own, failures=failures) for name, own in zip(NAMES, stated, strict=True)]
    reply = ask(served(tmp_path_factory, experts), model=model, stream=stream, **body)
    unable = {
        name for name, own in zip(NAMES, stated, strict=True) if states_that_it_cannot(own, wanted, language)
    }
    asked = {expert.spec.name for expert in experts if expert.bodies}
    assert not asked & unable
    may = set(NAMES) if model.startswith("leeroo") else {model}
    if may <= unable:
        assert reply.status_code == 400, reply.text
        error = reply.json()["error"]
        assert error["code"] == "no_capable_expert"
        assert error["type"] == "invalid_request_error"
        assert all(name in error["message"] for name in may)
        assert not asked
    else:
        assert asked == ((may - unable) if failures else asked)
        assert asked, reply.text


def test_a_window_that_is_too_small_by_an_estimate_is_tried_where_there_is_no_other(tmp_path_factory):
    text = "word " * 1_300  # 6,500 characters: some 2,170 tokens by the estimate, and 541 at the very least
    for window, status, asked in ((2_000, 200, True), (500, 400, False)):
        small, large = Expert("alpha", {}, window), Expert("beta", {}, 100_000)
        message = [{"role": "user", "content": text}]
        assert ask(served(tmp_path_factory, [small, large]), messages=message).status_code == 200
        assert not small.bodies
        alone = ask(served(tmp_path_factory, [small]), messages=message, model="alpha")
        assert (alone.status_code, bool(small.bodies)) == (status, asked)
        if status == 400:
            assert alone.json()["error"]["code"] == "context_length_exceeded"
            assert "context of 500 tokens" in alone.json()["error"]["message"]


def test_a_local_models_window_is_measured_with_its_own_tokenizer(orchestrator):
    """The default catalogue's models lie here: their windows of 2,048 tokens are held to the token or so."""
    pytest.importorskip("tokenizers")
    from experts import resolve_model
    from experts.backends.registry import count_tokens

    smol, gemma = both()
    for expert in (smol, gemma):
        resolve_model(expert.spec)
    word = "antidisestablishmentarianism "
    for spec in (smol.spec, gemma.spec):
        assert count_tokens(spec, [word * 3]) in range(9, 40)
    fits, exceeds = "one " * 1_900, "one " * 2_100  # characters over three would say 2,533: too long
    gateway = endpoint(orchestrator, smol, gemma)
    assert ask(gateway, messages=[{"role": "user", "content": fits}]).status_code == 200
    reply = ask(gateway, messages=[{"role": "user", "content": exceeds}])
    assert reply.json()["error"]["code"] == "context_length_exceeded"
    assert "smollm2-135m" in reply.json()["error"]["message"]
    assert len(smol.bodies) + len(gemma.bodies) == 1


def test_route_says_the_same(tmp_path_factory):
    gateway = served(tmp_path_factory, [Expert("alpha", {"vision": "no"}), Expert("beta", {"vision": "yes"})])

    async def send(content):
        async with http(gateway) as web:
            body = json.dumps({"messages": [{"role": "user", "content": content}]})
            return await web.post("/v1/route", content=body, headers={"content-type": "application/json"})

    text = {"type": "text", "text": "What is this?"}
    assert asyncio.run(send([text])).json()["expert"] == "alpha"
    assert asyncio.run(send([text, PICTURE])).json()["expert"] == "beta"
    reply = asyncio.run(send([text, PICTURE])).json()
    assert "alpha" not in reply["fallbacks"]
