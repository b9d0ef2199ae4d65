"""A whole endpoint: words stand where they may and nowhere else, and nowhere once they are forgotten."""

import json
import os
import signal
import subprocess
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from test_stopping_e2e import API_KEY, LEEROO, Endpoint, Upstream

from orchestrator.versions.mlflow_registry import log_version, set_champion
from pipelines.ray_folders import ray_folder
from serve.ledger.ledger import LEDGER_FILE, Ledger

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


class Parrot(Upstream):
    """Says what it was asked, twice as a word, whole or in pieces."""

    async def _answer(self, request):
        body = await request.json()
        said = f"{body['messages'][-1]['content']}-answered"
        usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
        told = {"id": "c", "created": 1, "model": "m"}
        if not body.get("stream"):
            choices = [
                {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            ]
            return web.json_response(
                {**told, "object": "chat.completion", "choices": choices, "usage": usage}
            )
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        for piece, ends in ((said[:9], None), (said[9:], "stop")):
            choices = [{"index": 0, "delta": {"content": piece}, "finish_reason": ends}]
            told |= {"object": "chat.completion.chunk", "choices": choices}
            await reply.write(f"data: {json.dumps(told)}\n\n".encode())
        last = told | {"choices": [], "usage": usage}
        await reply.write(f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode())
        return reply


def where(places, word):
    """The files in which a word stands; Parquet is read for what it is."""
    found = []
    for place in places:
        for path in place.rglob("*"):
            try:
                if path.is_symlink() or not path.is_file():
                    continue
                content = path.read_bytes()
            except OSError:  # of the running cluster: gone meanwhile, or a socket
                continue
            if path.suffix == ".parquet":
                content += str(pq.read_table(path).to_pylist()).encode()
            if word.encode() in content:
                found.append(path)
    return found


def leeroo(home, *arguments):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "LEEROO_"))}
    env |= {"LEEROO_HOME": str(home), "LEEROO_TEST_API_KEY": API_KEY}
    run = subprocess.run([LEEROO, *arguments], env=env, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_words_are_where_they_may_be_and_gone_once_forgotten(orchestrator, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    ledger = Ledger(tmp_path / LEDGER_FILE)
    secrets = {mode: ledger.create_key(mode, record=mode)[1] for mode in ("none", "features", "texts")}
    ledger.close()
    endpoint = Endpoint(tmp_path, Parrot(), "--record", "texts", "--keep-texts-days", "7")
    sessions = ray_folder().glob(f"session_*_{endpoint.process.pid}")
    places = [tmp_path, *sessions]
    assert len(places) == 2

    def ask(mode, word, **fields):
        body = {"messages": [{"role": "user", "content": f"palfrey{word}"}], "max_tokens": 20, **fields}
        headers = {"Authorization": f"Bearer {secrets[mode]}"}
        reply = httpx.post(f"{endpoint.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
        assert reply.status_code == 200, reply.text
        if fields.get("stream"):
            assert "answered" in reply.text
        else:
            assert reply.json()["choices"][0]["message"]["content"] == f"palfrey{word}-answered"
        return reply.headers["x-leeroo-request-id"]

    def say(mode, request_id, word):
        said = {"request_id": request_id, "comment": f"palfrey{word}", "score": 0.5}
        headers = {"Authorization": f"Bearer {secrets[mode]}"}
        return httpx.post(f"{endpoint.url}/v1/feedback", json=said, headers=headers, timeout=60)

    try:
        kept, unkept = {}, ("bare", "figures", "figurestream", "unstored", "told", "name")
        ask("none", "bare", model="leeroo")
        first = ask("features", "figures", model="leeroo", user="palfreyname")
        ask("features", "figurestream", model="leeroo", stream=True)
        ask("texts", "unstored", model="leeroo", store=False)
        assert say("features", first, "told").status_code == 200  # the score is kept, the comment is not
        kept["whole"] = ask("texts", "whole", model="leeroo", user="palfreyname")
        kept["streamed"] = ask("texts", "streamed", model="smollm2-135m", stream=True)
        assert say("texts", kept["whole"], "judged").status_code == 200

        held = json.loads(leeroo(tmp_path, "traffic", "texts", "--json"))
        assert (held["texts"], held["plain"]) == (2, 2)
        shown = json.loads(leeroo(tmp_path, "traffic", "texts", "--request", kept["streamed"]))
        assert shown["answer_text"] == "palfreystreamed-answered"
        for word in unkept:
            assert where(places, f"palfrey{word}") == []
        texts = tmp_path / "traffic" / "texts"
        for word in kept:
            assert {path.is_relative_to(texts) for path in where(places, f"palfrey{word}")} == {True}
        (path,) = where(places, "palfreyjudged")
        assert path.is_relative_to(tmp_path / "warehouse" / "feedback")
        assert {path.stat().st_mode & 0o77 for path in texts.rglob("*.jsonl")} == {0}
        assert "texts, for 7 days, NOT encrypted" in json.loads(leeroo_doctor(tmp_path))["recording"]

        told = leeroo(tmp_path, "traffic", "forget", "--key", "texts", "--yes")
        assert "2 requests are forgotten, 2 texts with them" in told
        for word in (*unkept, *kept, "judged", ""):
            assert where(places, f"palfrey{word}") == [], word
        rows = json.loads(
            leeroo(tmp_path, "sql", "select key_id, count(*) n from traffic group by 1", "-o", "json")
        )
        assert rows["n"] == 2, "those of the key with features stay"
        assert "texts" in leeroo(tmp_path, "keys", "list")

        after = ask("texts", "later", model="leeroo")  # the endpoint goes on
        endpoint.process.send_signal(signal.SIGTERM)
        assert endpoint.process.wait(60) == 0
        shown = json.loads(leeroo(tmp_path, "traffic", "texts", "--request", after))
        assert shown["answer_text"] == "palfreylater-answered"
        leeroo(tmp_path, "traffic", "forget", "--request", after, "--yes")
        assert where(places, "palfrey") == []
        with pytest.raises(AssertionError, match="no key is called"):
            leeroo(tmp_path, "traffic", "forget", "--key", "nobody", "--yes")
    finally:
        endpoint.kill()


def leeroo_doctor(home: Path) -> str:
    env = dict(os.environ) | {"LEEROO_HOME": str(home), "LEEROO_TEST_API_KEY": API_KEY}
    catalogue = str(home / "experts.yaml")
    run = subprocess.run(
        [LEEROO, "doctor", "--json", "--catalogue", catalogue],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return run.stdout
