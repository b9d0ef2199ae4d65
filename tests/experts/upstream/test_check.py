"""`leeroo experts check` against APIs that refuse this and that, over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experts import load_catalogue
from experts.catalogue.capabilities import ABILITIES
from experts.upstream.checking.check import CheckResult, check_expert
from pipelines.cli import app
from tests.experts.upstream.asking import END, ROLE, WORD
from tests.experts.upstream.scripted_socket import Act, Call, completion, make_spec, serve


def api(*refused: str, usage: bool = True, streams: bool = True) -> Act:
    async def act(call: Call) -> None:
        for name in refused:
            if name in call.body:
                text = f"Unsupported parameter: '{name}' is not supported with this model."
                return await call.reply(400, {"error": {"message": text, "param": name}})
        if not call.body.get("stream"):
            return await call.reply(200, completion(usage=completion()["usage"] if usage else None))
        await call.begin_stream()
        told = [{"choices": [], "usage": completion()["usage"]}] if usage else []
        for event in (ROLE, WORD, END, *told):
            await call.event(event)
        return await call.end_stream()

    return act


#: What a model can do is asked by `test_abilities.py`.
STATED = {"capabilities": dict.fromkeys(ABILITIES, "no")}


def check(act: Act, **fields: Any) -> CheckResult:
    async def run() -> CheckResult:
        async with serve(act) as server:
            return await check_expert(make_spec(server.url, **STATED | fields))

    return asyncio.run(run())


def test_an_api_without_oddities() -> None:
    found = check(api())
    assert found.works
    assert found.lines == []
    assert "12 tokens read and 2 written" in " ".join(found.notes)


def test_the_line_to_add_makes_the_next_check_clean(tmp_path: Path) -> None:
    act = api("max_tokens", "temperature", "seed", "stream_options", "logprobs")

    async def run() -> tuple[CheckResult, CheckResult, list[Call]]:
        async with serve(act) as server:
            found = await check_expert(make_spec(server.url, scoring="letter"))
            path = tmp_path / "catalogue.yaml"
            lines = "".join(f"    {line}\n" for line in found.lines)
            path.write_text(
                f"experts:\n  - name: alpha\n    backend: openai\n    model: m\n"
                f"    base_url: {server.url}\n{lines}"
                "    price: {usd_per_mtok_in: 1, usd_per_mtok_out: 1}\n"
            )
            before = len(server.calls)
            again = await check_expert(load_catalogue(path).experts[0])
            return found, again, server.calls[before:]

    found, again, calls = asyncio.run(run())
    assert found.works
    assert any(
        line.startswith("dialect: {rename: {max_tokens: max_completion_tokens}") for line in found.lines
    )
    assert "scoring: generate" in found.lines
    assert again.works
    assert again.lines == []
    assert all("max_tokens" not in call.body and "temperature" not in call.body for call in calls)


def test_counts_that_are_not_told_are_said() -> None:
    notes = " ".join(check(api(usage=False)).notes)
    assert "tells no token counts" in notes


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "api_key_env"), (402, "account"), (404, "`model:`"), (301, "base_url")]
)
def test_an_api_that_does_not_answer(status: int, advice: str) -> None:
    async def act(call: Call) -> None:
        await call.reply(status, {"error": {"message": "no"}})

    found = check(act)
    assert not found.works
    assert advice in " ".join(found.notes)


def test_what_a_caller_would_miss_is_told_and_not_dropped() -> None:
    found = check(api("stop"))
    assert any("refuses stop" in note for note in found.notes)
    assert found.lines == []


def test_the_command_tells_in_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    path = tmp_path / "catalogue.yaml"
    path.write_text(
        "experts:\n  - name: far\n    backend: openai\n    model: m\n    base_url: http://127.0.0.1:9/v1\n"
        "    api_key_env: NO_SUCH_KEY\n    price: {usd_per_mtok_in: 1, usd_per_mtok_out: 1}\n"
    )
    result = CliRunner().invoke(app, ["experts", "check", "--catalogue", str(path)])
    assert result.exit_code == 1
    assert "NO_SUCH_KEY" in result.output
    unknown = CliRunner().invoke(app, ["experts", "check", "nobody", "--catalogue", str(path)])
    assert unknown.exit_code != 0
