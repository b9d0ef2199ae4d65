"""Answers that are given again: to whom, in which shape, at what cost, and never across keys."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import BROKEN, FixedRouter, LocalLedger, VectorExpert
from test_gateway import http
from test_knobs import TOOL, Expert

from experts.upstream import Usage
from serve.config import ServeConfig
from serve.experts.client import StreamPiece, WholeAnswer
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.request.cache.details import details_of
from serve.request.cache.fitting import Wanted
from serve.request.cache.kept_answers import KeptAnswers
from serve.request.cache.response_cache import CACHE
from serve.request.gateway import Gateway
from serve.request.streaming import Tally
from serve.router.messages import Features
from warehouse import InputError

QUESTION = {"role": "user", "content": "How far is it?"}
CHAT = "/v1/chat/completions"


class MeaningfulRouter(FixedRouter):
    """Reads a text as a direction that the test says, by its words."""

    def __init__(self, directions, *order):
        super().__init__(*order)
        self.directions = directions

    async def decide(self, query):
        direction = np.array(self.directions.get(query.text, (0, 0, 1)), np.float32)
        features = Features("e1", direction, np.zeros(1, np.float32))
        return replace(await super().decide(query), features=features)


def make(home, *script, directions=(), names=("alpha",), **fields):
    config = ServeConfig(home=home, access="keys", **{"cache": "exact"} | fields)
    experts = {name: Expert(name, script) for name in names} | {"vectors": VectorExpert("vectors")}
    gateway = Gateway(config, MeaningfulRouter(dict(directions), *names), LocalLedger(config), experts)
    keys = Ledger(home / LEDGER_FILE)
    return gateway, {name: keys.create_key(name, budget_usd=1.0)[1] for name in ("ann", "bob")}


async def post(web, gateway, secret, path=CHAT, cache_control=None, **said):
    headers = {"authorization": f"Bearer {secret}"}
    headers |= {"cache-control": cache_control} if cache_control else {}
    body = {"model": "leeroo", "messages": [QUESTION]} | said
    if path != CHAT and "messages" not in said:
        del body["messages"]
    reply = await web.post(path, json=body, headers=headers)
    await gateway.drain(5.0)
    return reply


def kinds_of(home, *requests, key="ann", **fields):
    """Make requests one after the other; return what their header says of the cache."""

    async def run():
        gateway, secrets = make(home, **fields)
        async with http(gateway) as web:
            replies = [
                await post(web, gateway, secrets[said.pop("key", key)], **said)
                for said in map(dict, requests)
            ]
        return [reply.headers.get("x-leeroo-cache") for reply in replies]

    return asyncio.run(run())


def test_the_same_request_costs_nothing_the_second_time_and_is_counted(tmp_path):
    async def run():
        gateway, secrets = make(tmp_path)
        async with http(gateway) as web:
            first = await post(web, gateway, secrets["ann"])
            again = await post(web, gateway, secrets["ann"])
            metrics = (await web.get("/metrics")).text
            look = {"authorization": f"Bearer {secrets['ann']}"}
            overview = (await web.get("/v1/overview", headers=look)).json()
        return gateway, first, again, metrics, overview

    gateway, first, again, metrics, overview = asyncio.run(run())
    told, before = again.json(), first.json()
    assert told["choices"] == before["choices"]
    assert (told["leeroo"]["cost_usd"], told["leeroo"]["expert"]) == (0, "alpha")
    assert told["leeroo"]["cache"]["kind"] == again.headers["x-leeroo-cache"] == "exact"
    assert told["leeroo"]["cache"]["request_id"] == before["leeroo"]["request_id"]
    assert told["leeroo"]["request_id"] != before["leeroo"]["request_id"]
    assert first.headers["x-leeroo-cache"] == "miss"
    assert len(gateway.experts["alpha"].bodies) == 1
    key = next(key for key in Ledger(tmp_path / LEDGER_FILE).list_keys() if key.name == "ann")
    assert (key.reserved_usd, key.spent_usd) == (0, pytest.approx(before["leeroo"]["cost_usd"]))
    assert f'leeroo_answers_total{{expert="{CACHE}"}} 1.0' in metrics
    assert f'leeroo_cost_usd_total{{expert="{CACHE}"}} 0.0' in metrics
    (cached,) = (one for one in overview["experts"] if one["expert"] == CACHE)
    assert (cached["answers"], cached["cost_usd"]) == (1, 0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"key": "bob"}, {}),
        ({"temperature": 0.7}, {"temperature": 0.7}),
        ({"messages": [QUESTION, {"role": "user", "content": "How long?"}]}, {}),
        ({"model": "alpha"}, {}),
        ({"model": "leeroo:quality"}, {}),
        ({"max_tokens": 5}, {"max_tokens": 6}),
        ({"user": "eve"}, {"user": "zoe"}),
        ({"min_success": 0.1}, {}),
        ({"store": False}, {}),
        ({}, {"store": False}),
        ({"cache_control": "no-store"}, {}),
        ({}, {"cache_control": "no-cache"}),
        ({}, {"cache_control": "max-age=0"}),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]},) * 2,
        (
            {
                "messages": [
                    QUESTION,
                    {"role": "assistant", "tool_calls": [TOOL]},
                    {"role": "tool", "tool_call_id": "c", "content": "12 km"},
                ]
            },
        )
        * 2,
    ],
)
def test_what_is_not_the_same_or_may_not_be_kept_is_asked_anew(tmp_path, first, second):
    assert kinds_of(tmp_path, first, second)[1] in ("miss", None)


@pytest.mark.parametrize(
    ("first", "second", "fields"),
    [
        ({"metadata": {"task": "a"}}, {"metadata": {"task": "b"}}, {}),
        ({"temperature": 0.7}, {"temperature": 0.7}, {"cache_sampled": True}),
        ({}, {"cache_control": "max-age=60"}, {}),
        ({"cache_control": "no-cache"}, {}, {}),
        ({"stream": True}, {}, {}),
        ({}, {"stream": True}, {}),
        ({"stream": True}, {"stream": True}, {}),
        ({"path": "/v1/completions", "prompt": "On"},) * 2 + ({},),
        ({"path": "/v1/embeddings", "input": "On", "model": "vectors"},) * 2 + ({},),
        ({}, {"path": "/v1/responses", "input": QUESTION["content"], "stream": True}, {}),
    ],
)
def test_what_asks_for_the_same_is_given_again(tmp_path, first, second, fields):
    assert kinds_of(tmp_path, first, second, **fields) == ["miss", "exact"]


@pytest.mark.parametrize("fields", [{"cache": "off"}, {}])
def test_off_is_the_default_and_leaves_no_trace(tmp_path, fields):
    assert ServeConfig().cache == "off"
    if fields:
        assert kinds_of(tmp_path, {}, {}, **fields) == [None, None]


def test_a_stream_from_the_cache_reads_like_any_other_to_the_official_client(tmp_path):
    async def run():
        gateway, secrets = make(tmp_path)
        async with http(gateway) as web:
            client = openai.AsyncOpenAI(
                base_url="http://localhost/v1", api_key=secrets["ann"], http_client=web
            )
            streams = []
            for _ in range(2):
                stream = await client.chat.completions.create(
                    model="leeroo", messages=[QUESTION], stream=True, stream_options={"include_usage": True}
                )
                streams.append([piece async for piece in stream])
            await gateway.drain(5.0)
            return gateway, streams

    gateway, streams = asyncio.run(run())
    said = ["".join(p.choices[0].delta.content or "" for p in read if p.choices) for read in streams]
    assert said[0] == said[1] == "onetwothree"
    assert streams[0][-1].usage == streams[1][-1].usage
    ends = [[p.choices[0].finish_reason for p in read if p.choices][-1] for read in streams]
    assert ends == ["stop", "stop"]
    assert streams[1][-2].leeroo["cost_usd"] == 0
    assert len(gateway.experts["alpha"].bodies) == 1


def test_failures_broken_streams_and_unusable_answers_are_not_kept(tmp_path):
    async def run():
        gateway, secrets = make(tmp_path, BROKEN)
        async with http(gateway) as web:
            failed = await post(web, gateway, secrets["ann"])
            answered = await post(web, gateway, secrets["ann"])
            gateway.experts["alpha"].cut_after = 1
            other = {"messages": [{"role": "user", "content": "Other"}], "stream": True}
            cut = [await post(web, gateway, secrets["ann"], **other) for _ in range(2)]
            schema = {"messages": [QUESTION], "response_format": {"type": "json_object"}}
            unusable = [await post(web, gateway, secrets["ann"], **schema) for _ in range(2)]
        return failed, answered, cut, unusable

    failed, answered, cut, unusable = asyncio.run(run())
    assert failed.status_code == 502
    assert answered.headers["x-leeroo-cache"] == "miss"
    assert [reply.headers["x-leeroo-cache"] for reply in cut + unusable] == ["miss"] * 4


@pytest.mark.parametrize(
    ("second", "kind"),
    [
        ("What is the distance?", "semantic"),
        ("What is the price?", "miss"),
        ("How far is it in 2 days?", "miss"),  # a number that the first question has not
        ("Is it far how?", "miss"),  # the same words in another order
        ("How far is it not?", "miss"),
        ("unheard of", "miss"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_question_that_means_the_same_gets_the_answer_and_gives_its_money_back(
    tmp_path, second, kind, stream
):
    directions = {
        QUESTION["content"]: (1, 0, 0),
        "What is the distance?": (0.99, 0.05, 0),
        "How far is it in 2 days?": (1, 0, 0),
        "Is it far how?": (1, 0, 0),
        "How far is it not?": (1, 0, 0),
        "What is the price?": (0.9, 0.5, 0),
    }

    async def run():
        gateway, secrets = make(tmp_path, directions=directions, cache="semantic", explore_share=0.0)
        async with http(gateway) as web:
            first = await post(web, gateway, secrets["ann"])
            asked = {"messages": [{"role": "user", "content": second}], "stream": stream}
            found = await post(web, gateway, secrets["ann"], **asked)
            others = await post(web, gateway, secrets["bob"], **asked)
            system = {"role": "system", "content": "Be brief."}
            told = {"messages": [system, *asked["messages"]], "stream": stream}
            other_system = await post(web, gateway, secrets["ann"], **told)
        return first, found, others, other_system

    first, found, others, other_system = asyncio.run(run())
    assert found.headers["x-leeroo-cache"] == kind
    assert others.headers["x-leeroo-cache"] == other_system.headers["x-leeroo-cache"] == "miss"
    keys = {key.name: key for key in Ledger(tmp_path / LEDGER_FILE).list_keys()}
    assert keys["ann"].reserved_usd == keys["bob"].reserved_usd == 0
    if kind == "semantic" and not stream:
        assert found.json()["leeroo"]["cache"]["similarity"] == pytest.approx(0.9987, abs=1e-3)
        assert found.json()["choices"] == first.json()["choices"]


def test_a_reload_forgets_all_answers(tmp_path):
    async def run():
        gateway, secrets = make(tmp_path)
        async with http(gateway) as web:
            await post(web, gateway, secrets["ann"])
            gateway._use(dict(gateway.experts))
            return (await post(web, gateway, secrets["ann"])).headers["x-leeroo-cache"]

    assert asyncio.run(run()) == "miss"


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_was_asked_for_before_a_reload_is_not_kept_after_it(tmp_path, stream):
    async def run():
        gateway, secrets = make(tmp_path)
        alpha, held = gateway.experts["alpha"], asyncio.Event()
        usual = {name: getattr(alpha, name) for name in ("answer", "open_stream")}

        def late(name):
            async def ask(*given):
                value = await usual[name](*given)
                await held.wait()
                return value

            return ask

        for name in usual:
            setattr(alpha, name, late(name))
        async with http(gateway) as web:
            first = asyncio.ensure_future(post(web, gateway, secrets["ann"], stream=stream))
            while not alpha.bodies:
                await asyncio.sleep(0.01)
            gateway._use(dict(gateway.experts))
            held.set()
            assert (await first).headers["x-leeroo-cache"] == "miss"
            return (await post(web, gateway, secrets["ann"])).headers["x-leeroo-cache"]

    assert asyncio.run(run()) == "miss"


def test_the_first_request_after_an_order_to_read_the_catalogue_again_is_asked_anew(tmp_path):
    async def run():
        gateway, secrets = make(tmp_path)
        async with http(gateway) as web:
            kinds = [(await post(web, gateway, secrets["ann"])).headers["x-leeroo-cache"] for _ in range(2)]

            async def look(experts):
                gateway.service.look = usual
                return dict(experts)

            usual, gateway.service.look = gateway.service.look, look
            return [*kinds, (await post(web, gateway, secrets["ann"])).headers["x-leeroo-cache"]]

    assert asyncio.run(run()) == ["miss", "exact", "miss"]


@pytest.mark.parametrize("more", [{"images": ["x"]}, {"annotations": [{"url": "x"}]}, {"audio": {"id": "x"}}])
def test_a_stream_of_more_than_text_is_not_kept_as_text(more):
    frame = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    usage = Usage(3, 2)
    for place, delta in enumerate(({"role": "assistant", "content": "Here."}, more)):
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        told = [
            frame | {"choices": [{"index": 0, "delta": delta}]} for delta in ({"content": "Here."}, delta)
        ]
        tally = Tally(last=frame | end)
        for body in told:
            tally.add(StreamPiece(body, True, usage))
        assert (tally.whole() is None) == bool(place)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who can work there?", "Who cannot work there?"),
        ("f(x - 1)", "f(x) - 1"),
        ("7 - 3 * 2", "(7 - 3) * 2"),
        ("what is -5 squared", "what is 5 squared"),
        ("x² + 1", "x³ + 1"),
        ("buy two of them", "buy three of them"),
    ],
)
def test_what_changes_an_answer_is_a_detail(one, other):
    assert details_of(one) != details_of(other)


@pytest.mark.parametrize(
    "field", ["cache=on", "cache_ttl_s=0", "cache_ttl_s=-1", "cache_mb=0", "cache_similarity=0.5"]
)
def test_settings_that_make_no_sense_are_refused(field):
    name, value = field.split("=")
    with pytest.raises(InputError, match=name):
        ServeConfig.parse({name: value})


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Body(dict):
    """Stands for an answer of some size."""


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["keep", "find", "near", "wait"]),
        st.integers(0, 12),
        st.integers(1, 4_000),
    ),
    max_size=120,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_room_and_time_are_kept_to_and_only_what_was_kept_last_comes_back(steps):
    clock, ttl_s, room = Clock(), 50.0, 16_000
    kept = KeptAnswers(room, ttl_s, 0.999, clock)
    model = {}
    for what, number, size in steps:
        wanted = Wanted(bytes([number]), b"group")
        direction = np.eye(13, dtype=np.float32)[number]
        if what == "keep":
            answer = WholeAnswer(Body(number=number, at=clock.now), None)
            kept.keep(wanted, answer, {}, size, "e1", direction)
            if size + direction.nbytes <= room // 8:
                model[number] = answer
        elif what == "wait":
            clock.now += number
        else:
            other = Wanted(b"other", b"group")
            hit = kept.find(wanted) if what == "find" else kept.find_near(other, "e1", 2 * direction)
            if hit is not None:
                assert hit.kept.answer is model[number]
                assert hit.age_s == clock.now - hit.kept.answer.body["at"] < ttl_s
            assert kept.find_near(other, "e2", direction) is None
        assert kept.size <= room
