"""What is recorded of a request: as much as endpoint, key and request allow, once, and no text."""

import asyncio
import json
import math
import os
import tempfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from fake_experts import BROKEN, BUSY, SLOW, TOO_LONG, LocalLedger, LocalRouter, ScriptedExpert
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import TrafficRecord
from serve.ledger.traffic.carrying import carry_traffic
from serve.ledger.traffic.spool import Spool, find_rows_of_the_dead
from serve.request.gateway import Gateway
from serve.request.recording.texts import SpokenText
from serve.wire.recording import RECORDINGS, strictest
from warehouse import Warehouse

SECRET = "xyzzy-7731"  # stands in the question and in no name of ours
NAMES = ("smollm2-135m", "gemma-3-270m")
FAILURES = {failure.kind.value: failure for failure in (BROKEN, BUSY, SLOW, TOO_LONG)}
MODELS = ("leeroo", "leeroo:quality", "leeroo:economy", "leeroo:ensemble", *NAMES)


@pytest.fixture
def gateway(orchestrator, tmp_path):
    def make(*experts, keep_text=None, challenger=None, **fields):
        config = ServeConfig(home=tmp_path, access="auto", **fields)
        by_name = {expert.spec.name: expert for expert in experts or map(ScriptedExpert, NAMES)}
        return Gateway(config, LocalRouter(orchestrator, challenger), LocalLedger(config), by_name, keep_text)

    return make


def post(gateway, body, path="/v1/chat/completions", secret=None):
    async def go():
        transport = httpx.ASGITransport(app=create_api(gateway), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
            headers = {"Authorization": f"Bearer {secret}"} if secret else {}
            reply = await web.post(path, json=body, headers=headers)
            await gateway.drain(5)
            return reply

    return asyncio.run(go())


def asked(text=f"What is the capital of {SECRET}?", **fields):
    return {"messages": [{"role": "user", "content": text}], **fields}


def rows_of(gateway):
    carry_traffic(gateway.config)
    return Warehouse(str(gateway.config.home / "warehouse")).scan("traffic").to_pylist()


def holds_text(home, text=SECRET):
    return [path for path in home.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@settings(max_examples=25, deadline=None)
@given(
    model=st.sampled_from(MODELS),
    scripts=st.tuples(*[st.lists(st.sampled_from(sorted(FAILURES)), max_size=2)] * 2),
    stream=st.booleans(),
    cut_after=st.none() | st.integers(1, 2),
    fields=st.fixed_dictionaries(
        {},
        optional={
            "user": st.just(f"user {SECRET}"),
            "metadata": st.fixed_dictionaries({"task": st.just("sums")}),
            "experts": st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True),
            "min_success": st.sampled_from([0.1, 0.9]),
            "store": st.booleans(),
        },
    ),
    share=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_row_tells_what_happened(orchestrator, model, scripts, stream, cut_after, fields, share):
    experts = [
        ScriptedExpert(name, *map(FAILURES.get, script), cut_after=cut_after)
        for name, script in zip(NAMES, scripts, strict=True)
    ]
    with tempfile.TemporaryDirectory() as home:
        config = ServeConfig(home=Path(home), explore_share=share)
        by_name = {expert.spec.name: expert for expert in experts}
        gateway = Gateway(config, LocalRouter(orchestrator), LocalLedger(config), by_name)
        reply = post(gateway, asked(model=model, stream=stream, **fields))
        rows = rows_of(gateway)
        assert not holds_text(config.home)
        was_asked = [len(expert.bodies) for expert in experts]
    if reply.status_code != 200 or fields.get("store") is False:
        assert rows == []
        return
    if not rows:  # a held stream whose answer never came says so after its headers
        assert '"error"' in reply.text
        return
    (row,) = rows
    assert row["request_id"] in reply.text
    assert row["recording"] == "features"
    assert sum(row["propensities"]) == pytest.approx(1, abs=1e-12)
    chances = dict(zip(row["experts"], row["propensities"], strict=True))
    assert chances[row["chosen"]] > 0
    assert set(row["experts"]) <= set(fields.get("experts", NAMES))
    assert row["expert"] in row["experts"]
    tried = dict(zip(row["tried"], row["tried_why"], strict=True))
    for name, why in tried.items():
        assert why in FAILURES or why.isidentifier() or "-" in why
        assert was_asked[NAMES.index(name)]
    assert (row["role"], row["router_version"]) == (("named", None) if model in NAMES else ("champion", "v1"))
    assert (row["embedding"] is None) == (model in NAMES)
    if row["embedding"] is not None:
        assert math.isclose(np.linalg.norm(row["embedding"]), 1, rel_tol=1e-3)
        assert len(row["surface"]) == 5
        assert row["embedder"].startswith("wordllama-")
    assert (row["user_hash"] is None) == ("user" not in fields)
    assert row["task"] == fields.get("metadata", {}).get("task")
    assert row["cost_usd"] >= row["answer_cost_usd"] > 0
    assert row["latency_s"] >= (row["first_token_s"] or 0) >= 0
    if stream is False:
        assert row["finish_reason"] == "stop"
        assert row["expert"] == reply.json()["leeroo"]["expert"]


@given(st.lists(st.none() | st.sampled_from(RECORDINGS), max_size=4))
def test_the_strictest_wish_wins(wishes):
    found = strictest(*wishes)
    given_ = [wish for wish in wishes if wish is not None]
    assert found in (given_ or ["none"])
    assert all(RECORDINGS.index(found) <= RECORDINGS.index(wish) for wish in given_)


@pytest.mark.parametrize("endpoint", RECORDINGS)
@pytest.mark.parametrize("key", [None, *RECORDINGS])
@pytest.mark.parametrize("store", [None, True, False])
def test_endpoint_key_and_request_each_may_want_less(gateway, tmp_path, endpoint, key, store):
    kept: list[SpokenText] = []
    served = gateway(record=endpoint, keep_text=kept.append)
    _, secret = Ledger(tmp_path / LEDGER_FILE).create_key("ann", record=key)
    post(served, asked() if store is None else asked(store=store), secret=secret)
    wanted = strictest(endpoint, key, "none" if store is False else None)
    assert [row["recording"] for row in rows_of(served)] == ([] if wanted == "none" else [wanted])
    assert [SECRET in text.prompt_messages[0]["content"] for text in kept] == [True] * (wanted == "texts")
    assert not holds_text(tmp_path)  # what keeps texts is given them, and nothing else
    assert SECRET not in repr(kept)
    if wanted == "none":
        assert not list((tmp_path / "traffic").rglob("spool/*"))


def test_without_a_place_for_texts_only_features_are_kept(gateway):
    served = gateway(record="texts")
    post(served, asked())
    assert [row["recording"] for row in rows_of(served)] == ["features"]


def test_a_keeper_that_fails_fails_no_answer_and_tells_no_text(gateway, caplog):
    def fail(text):
        raise OSError(f"cannot keep {text.answer_text} {text.prompt_messages}")

    assert post(gateway(record="texts", keep_text=fail), asked()).status_code == 200
    assert "cannot be recorded (OSError)" in caplog.text
    assert SECRET not in caplog.text


def test_store_false_leaves_no_trace_of_a_conversation(gateway, tmp_path):
    served = gateway()
    post(served, asked(store=False))
    db = Ledger(tmp_path / LEDGER_FILE)._db
    assert [
        db.one(f"select count(*) as rows from {table}")["rows"] for table in ("conversations", "traffic")
    ] == [0, 0]


def test_turns_of_a_conversation_have_its_hash_and_others_do_not(gateway):
    served = gateway()
    answer = post(served, asked()).json()["choices"][0]["message"]
    first = asked()["messages"]
    post(served, {"messages": [*first, answer, {"role": "user", "content": "And of Chile?"}]})
    other = {"role": "assistant", "content": "Another one was told this."}
    post(served, {"messages": [*first, other, {"role": "user", "content": "And of Peru?"}]})
    post(served, asked("What is 3 + 4?"))
    post(served, asked("What is 3 + 4?", metadata={"conversation_id": "c1"}))
    post(served, asked("What is 5 + 4?", metadata={"conversation_id": "c1"}))
    rows = sorted(rows_of(served), key=lambda row: row["created_at"])
    hashes = [row["conversation_hash"] for row in rows]
    assert hashes[0] == hashes[1]
    assert hashes[4] == hashes[5]
    assert len(set(hashes)) == 4, "the same opening, answered otherwise, is another conversation"
    assert len({row["text_hash"] for row in rows}) == 5


def test_the_challenger_in_the_shadow_has_a_row_without_an_answer(gateway, orchestrator):
    served = gateway(challenger=orchestrator)
    post(served, asked())
    row, shadow = sorted(rows_of(served), key=lambda row: row["role"])
    assert shadow["request_id"] == row["request_id"] + ":shadow"
    assert (shadow["role"], shadow["router_version"], shadow["cost_usd"]) == ("shadow", "v2", None)
    assert sum(shadow["propensities"]) == 1
    assert post(served, {"request_id": shadow["request_id"], "score": 1}, "/v1/feedback").status_code == 404


# -- the spool ---------------------------------------------------------------------------------------------

RECORDS = st.builds(
    lambda n, tail, vector: TrafficRecord(
        f"r{n}", json.dumps({"request_id": f"r{n}", "x": tail}).encode(), vector
    ),
    st.integers(0, 99),
    st.text(max_size=40),
    st.binary(max_size=64),
)


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.lists(RECORDS, min_size=1, max_size=3), max_size=8),
    settled=st.sets(st.integers(0, 7)),
    torn=st.integers(0, 200),
)
def test_what_was_not_settled_is_found_when_its_process_is_gone(groups, settled, torn):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "spool")
        spool = Spool(place, "me")
        for number, group in enumerate(groups):
            spool.keep(f"q{number}", group)
        assert list(find_rows_of_the_dead(place)) == []  # it lives
        for number in settled:
            spool.settled(f"q{number}")
        left = [group for number, group in enumerate(groups) if number not in settled]
        for file in spool._files:
            os.close(file._file)  # as the kernel does for a process that was killed
        for path in place.glob("*") if place.exists() else ():
            with path.open("ab") as file:
                file.write(b"\x00\x00\x00\x05" + b"x" * torn)  # a row that was half written
        found = [record for _, records in find_rows_of_the_dead(place) for record in records]
        assert all(record in found for group in left for record in group)
        assert not left or found == [record for group in groups for record in group]
        assert not place.exists() or not list(place.iterdir())


def test_the_dead_ones_rows_go_to_the_warehouse_once(gateway, tmp_path):
    served = gateway()
    request_id = post(served, asked()).json()["leeroo"]["request_id"]
    (row,) = Ledger(tmp_path / LEDGER_FILE).traffic.take(10)
    lost = Spool(tmp_path / "traffic/spool", "dead")
    lost.keep(request_id, [row])
    lost.keep("other", [TrafficRecord("other", row.content.replace(request_id.encode(), b"other"))])
    os.close(lost._files[0]._file)
    assert {row["request_id"] for row in rows_of(served)} == {request_id, "other"}
    assert carry_traffic(served.config) == 0


# -- feedback ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carried", [False, True])
def test_feedback_is_taken_before_and_after_its_request_is_in_the_warehouse(gateway, tmp_path, carried):
    keys = Ledger(tmp_path / LEDGER_FILE)
    (_, ann), (_, bob) = keys.create_key("ann"), keys.create_key("bob")
    served = gateway()
    answer = post(served, asked(), secret=ann).json()
    request_id = answer["leeroo"]["request_id"]
    if carried:
        carry_traffic(served.config)
    said = [
        {"score": 0.25},
        {"thumb": "up", "source": "playground"},
        {"thumb": "down", "level": "conversation"},
    ]
    for one in said:
        reply = post(served, one | {"request_id": request_id}, "/v1/feedback", ann)
        assert reply.json() == {"recorded": True, "texts_kept": None}
    foreign = post(served, said[0] | {"request_id": request_id}, "/v1/feedback", bob)
    unknown = post(served, said[0] | {"request_id": "req-none"}, "/v1/feedback", bob)
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.text.replace(request_id, "req-none") == unknown.text
    rows = Warehouse(str(tmp_path / "warehouse")).scan("feedback").sort_by("created_at").to_pylist()
    assert [(row["kind"], row["score"], row["level"], row["source"]) for row in rows] == [
        ("score", 0.25, "request", "api"),
        ("thumb", 1.0, "request", "playground"),
        ("thumb", 0.0, "conversation", "api"),
    ]
    assert {row["expert"] for row in rows} == {answer["leeroo"]["expert"]}
    assert all(row["conversation_hash"] for row in rows)


@pytest.mark.parametrize("record", ["features", "texts"])
def test_words_are_kept_where_texts_are(gateway, tmp_path, record):
    served = gateway(record=record, keep_text=lambda text: None)
    request_id = post(served, asked()).json()["leeroo"]["request_id"]
    about = {"request_id": request_id}
    with_score = post(served, about | {"score": 1, "comment": f"fine {SECRET}"}, "/v1/feedback")
    words_alone = post(served, about | {"demonstration": f"say {SECRET}"}, "/v1/feedback")
    rows = Warehouse(str(tmp_path / "warehouse")).scan("feedback").sort_by("created_at").to_pylist()
    assert with_score.json()["texts_kept"] is (record == "texts")
    if record == "features":
        assert words_alone.status_code == 400
        assert words_alone.json()["error"]["code"] == "texts_not_kept"
        assert [(row["score"], row["comment"]) for row in rows] == [(1.0, None)]
        assert not holds_text(tmp_path)
    else:
        assert [(row["kind"], row["score"]) for row in rows] == [("score", 1.0), ("demonstration", None)]
        assert rows[1]["demonstration"] == f"say {SECRET}"
    db = tmp_path / LEDGER_FILE
    assert not any(SECRET.encode() in Path(f"{db}{end}").read_bytes() for end in ("", "-wal"))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"score": 1.5},
        {"score": -1},
        {"score": None},
        {"thumb": "sideways"},
        {"score": 1, "thumb": "up"},
        {"comment": ""},
    ],
)
def test_feedback_that_says_nothing_is_refused(gateway, tmp_path, wrong):
    served = gateway()
    request_id = post(served, asked()).json()["leeroo"]["request_id"]
    reply = post(served, wrong | {"request_id": request_id}, "/v1/feedback")
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]
    assert not (tmp_path / "warehouse/feedback").exists()
