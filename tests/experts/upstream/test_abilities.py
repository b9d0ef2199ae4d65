"""`leeroo experts check` finds out what a model can do, against APIs over real sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import yaml

from experts import ExpertSpec
from experts.catalogue.capabilities import ABILITIES
from experts.upstream.checking.abilities import probe_abilities
from experts.upstream.checking.check import check_expert
from experts.upstream.client import UpstreamClient
from tests.experts.upstream.scripted_socket import Act, Call, completion, make_spec, serve

FIELD_OF = {
    "tools": "tools",
    "parallel_tools": "parallel_tool_calls",
    "json_schema": "response_format",
    "reasoning_effort": "reasoning_effort",
}


def kinds_of_parts(call: Call) -> set[str]:
    content = call.body["messages"][0]["content"]
    return {part["type"] for part in content} if isinstance(content, list) else set()


def wanted_by(call: Call) -> str | None:
    """Return which ability a request asks for."""
    if kinds := kinds_of_parts(call):
        return "vision" if "image_url" in kinds else "audio"
    names = [name for name, field in FIELD_OF.items() if field in call.body]
    return names[-1] if names else None


def model(*cannot: str) -> Act:
    """Return an API whose model can do all but this, and refuses it."""

    async def act(call: Call) -> None:
        wanted = wanted_by(call)
        if wanted in cannot:
            message = f"this model does not support {FIELD_OF.get(wanted, wanted)}"
            return await call.reply(400, {"error": {"message": message, "type": "invalid_request_error"}})
        body = completion({"json_schema": '{"word": "yes"}', "vision": "Red."}.get(wanted or "", "Yes."))
        if wanted in ("tools", "parallel_tools"):
            one = {"id": "c", "type": "function", "function": {"name": "say", "arguments": '{"word": "yes"}'}}
            calls = [one, {**one, "id": "d"}][: 2 if wanted == "parallel_tools" else 1]
            body["choices"][0] |= {"finish_reason": "tool_calls"}
            body["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": calls}
        return await call.reply(200, body)

    return act


def probe(act: Act, **stated: Any) -> tuple[dict[str, str], list[Call]]:
    async def run() -> tuple[dict[str, str], list[Call]]:
        async with serve(act) as server:
            client = UpstreamClient(make_spec(server.url, capabilities=stated))
            try:
                return await probe_abilities(client), server.calls
            finally:
                await client.aclose()

    return asyncio.run(run())


def test_a_model_that_can_do_everything() -> None:
    found, _ = probe(model())
    assert found == dict.fromkeys(set(ABILITIES) - {"audio", "files"}, "yes")


@pytest.mark.parametrize("ability", sorted(set(ABILITIES) - {"files"}))
def test_what_is_refused_is_a_no(ability: str) -> None:
    found, _ = probe(model(ability))
    assert found[ability] == "no"


def test_what_is_stated_is_not_asked_for() -> None:
    found, calls = probe(model(), **dict.fromkeys(ABILITIES, "no"))
    assert (found, calls) == ({}, [])


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_other_failures_say_nothing(status: int) -> None:
    async def act(call: Call) -> None:
        await call.reply(status, {"error": {"message": "not now"}})

    assert probe(act)[0] == {}


def test_an_api_that_passes_over_what_it_is_sent() -> None:
    async def act(call: Call) -> None:
        await call.reply(200, completion("Yes, of course."))

    found, _ = probe(act)
    assert found["tools"] == found["json_schema"] == "no"
    assert "vision" not in found
    assert "audio" not in found


def test_the_line_to_add_is_read_back_and_asked_no_more() -> None:
    async def run() -> None:
        async with serve(model("vision", "json_schema")) as server:
            spec = make_spec(server.url, capabilities={"languages": ["en", "de"]})
            found = await check_expert(spec)
            (line,) = [line for line in found.lines if line.startswith("capabilities:")]
            read = yaml.safe_load(line)
            again = ExpertSpec.model_validate(spec.model_dump(by_alias=True) | read)
            assert again.capabilities.vision == again.capabilities.json_schema == "no"
            assert again.capabilities.languages == ("en", "de")
            before = len(server.calls)
            assert not [x for x in (await check_expert(again)).lines if x.startswith("capabilities:")]
            later = [json.dumps(call.body) for call in server.calls[before:]]
            assert not any("image_url" in body or "json_schema" in body for body in later)

    asyncio.run(run())
