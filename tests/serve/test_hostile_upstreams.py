"""The real endpoint before upstreams that bill, lie, stall and die: nobody is harmed, and the books hold."""

import asyncio
import json
import os
import random
import sqlite3
import sys
import time
from pathlib import Path

import aiohttp
import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.versions.mlflow_registry import log_version, set_champion
from serve.config import ServeConfig
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.request.breaker import LONGEST_REST_S

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from hostile_replies import replies, streams
from hostile_upstream import Plan
from unusable_answers import SPOILT, given_of, schemas

from tests.ports import free_port

pytestmark = pytest.mark.e2e

ODD, SANE = "smollm2-135m", "gemma-3-270m"  # the names that the test's router knows
CATALOGUE = """
experts:
  - name: {name}
    backend: openai
    model: {name}
    base_url: {url}
    api_key_env: HOSTILE_UPSTREAM_KEY
    scoring: generate
    max_tokens: 30
    context_tokens: 4000
    timeout_s: 8
    concurrency: 64
    price: {{usd_per_mtok_in: 1, usd_per_mtok_out: 1}}
"""
PICO = 10**12
SECRET = "sk-operators-own-7f3a9c51d2e84b06"
GENERATED = settings(
    phases=[Phase.generate], deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def home(orchestrator, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    return home


@pytest.fixture(scope="module")
def url(home, upstream, ray_cluster):
    from serve.run import start_serving, stop_serving

    os.environ["HOSTILE_UPSTREAM_KEY"] = SECRET
    entries = [CATALOGUE.format(name=name, url=upstream.url) for name in (ODD, SANE)]
    (home / "experts.yaml").write_text(entries[0] + entries[1].replace("\nexperts:\n", ""))
    config = ServeConfig(home=home, access="keys", catalogue=home / "experts.yaml", port=free_port())
    yield start_serving(config)
    stop_serving()


def make_key(home, name, budget_usd=1.0):
    return Ledger(home / LEDGER_FILE).create_key(name, budget_usd=budget_usd, period="total")[1]


class Reply:
    """What a client got: the status, and either the whole body or the events of a stream."""

    def __init__(self, status, text):
        self.status, self.text = status, text

    @property
    def events(self):
        lines = [line.removeprefix("data: ") for line in self.text.split("\n") if line.startswith("data: ")]
        return [json.loads(line, parse_constant=refuse) for line in lines if line != "[DONE]"]

    @property
    def body(self):
        return json.loads(self.text, parse_constant=refuse)


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


async def post(session, url, secret, model, plan, *, stream=False, leave_s=None, max_tokens=20, **fields):
    """Ask; None where the client left before the answer was there."""
    body = {"model": model, "messages": [{"role": "user", "content": f"What is 3 plus 21? #{plan}#"}]}
    body |= {"max_tokens": max_tokens, "stream": stream} | fields
    timeout = aiohttp.ClientTimeout(total=leave_s or 120)
    headers = {"Authorization": f"Bearer {secret}"}
    try:
        async with session.post(
            f"{url}/v1/chat/completions", json=body, headers=headers, timeout=timeout
        ) as got:
            return Reply(got.status, (await got.read()).decode())
    except TimeoutError:
        assert leave_s is not None
        return None


def check_shape(reply):
    """An answer or a refusal in OpenAI's shape, in valid JSON; never a failure of ours."""
    assert reply.status != 500, reply.text
    reply.text.encode("utf-8")  # no half surrogates
    if reply.text.startswith("data:"):
        assert reply.text.rstrip().endswith("data: [DONE]"), reply.text[-300:]
        for event in reply.events:
            assert "error" in event or isinstance(event["choices"], list), event
            for choice in event.get("choices", ()):
                assert isinstance(choice["delta"], dict), event
                assert isinstance(choice["index"], int), event
    elif reply.status == 200:
        message = reply.body["choices"][0]["message"]
        assert message["role"] == "assistant", reply.text
        assert message["content"] is None or isinstance(message["content"], str), reply.text
    else:
        error = reply.body["error"]
        assert error["message"], reply.text
        assert error["code"] is None or isinstance(error["code"], str), reply.text


def ask_at_once(url, odd_secret, sane_secret, names, *, stream):
    """Ask all the odd ones and, among them, some sane ones of another key."""

    async def run():
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            odd = [post(session, url, odd_secret, ODD, name, stream=stream) for name in names]
            sane = [post(session, url, sane_secret, SANE, "sane", stream=stream) for _ in range(4)]
            done = await asyncio.gather(*odd, *sane)
            return done[: len(odd)], done[len(odd) :]

    return asyncio.run(run())


CASES = st.tuples(schemas(), SPOILT, SPOILT, st.booleans())


def wait_until_nobody_rests(url):
    deadline = time.monotonic() + LONGEST_REST_S + 10
    with httpx.Client() as client:
        while set(client.get(f"{url}/readyz").json()["experts"].values()) != {"ok"}:
            assert time.monotonic() < deadline, "an expert rests on"
            time.sleep(0.5)


def test_json_that_a_client_gets_is_valid_while_another_expert_can_answer(url, home, upstream):
    """Through the whole endpoint: what is spoilt goes on to the other expert, and both are paid."""
    secret, first = make_key(home, "json"), len(upstream.bills)
    cases = {}

    @given(st.lists(CASES, min_size=20, max_size=20))
    @settings(GENERATED, max_examples=4)
    def draw(drawn):
        for (schema, value, wrong), how, how_then, stream in drawn:
            answers = {name: given_of(one, value, wrong) for name, one in ((ODD, how), (SANE, how_then))}
            name = f"json-{len(cases)}"
            cases[name] = (schema, answers, stream)
            plans = {
                f"{name}@{who}": Plan(says=one.message, finish=one.finish) for who, one in answers.items()
            }
            upstream.plans.update(plans)

    async def run():
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8)) as session:
            asked = []
            for name, (schema, _, stream) in cases.items():
                form = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
                fields = {"stream": stream, "response_format": form}
                asked.append(post(session, url, secret, "leeroo", name, **fields))
            return await asyncio.gather(*asked)

    draw()
    wait_until_nobody_rests(url)  # where one expert alone can answer, its stream goes out as it comes
    for (name, (schema, answers, stream)), reply in zip(cases.items(), asyncio.run(run()), strict=True):
        check_shape(reply)
        if stream:
            assert len(reply.events) == 2, reply.events
            content, last = reply.events
            said, told = content["choices"][0]["delta"]["content"], last["leeroo"]
        else:
            said, told = reply.body["choices"][0]["message"]["content"], reply.body["leeroo"]
        asked_of = [bill.model for bill in upstream.bills[first:] if bill.plan == name]
        assert len(set(asked_of)) == len(asked_of), "nobody is asked twice"
        assert len(asked_of) == (1 if answers[asked_of[0]].is_usable else 2)
        if any(one.is_usable for one in answers.values()):
            jsonschema.validate(json.loads(said), schema)
            assert told["unusable"] is None
        else:
            assert told["unusable"] is not None
    assert_books_hold(home, within_s=30)
    charged_usd, disputed_usd = booked_of(home, "json")
    assert charged_usd == pytest.approx(sum(bill.usd for bill in upstream.bills[first:]), rel=1e-9)
    assert disputed_usd == 0


@pytest.mark.parametrize(("kind", "examples"), [("replies", 100), ("streams", 25)])
def test_generated_replies_harm_nobody(url, home, upstream, kind, examples):
    odd, sane = make_key(home, f"odd-{kind}"), make_key(home, f"sane-{kind}")
    seen, asked_before = {}, len(upstream.requests)

    @given(st.lists({"replies": replies(), "streams": streams()}[kind], min_size=20, max_size=20))
    @settings(GENERATED, max_examples=examples)
    def ask(plans):
        names = [f"{kind}-{len(upstream.plans) + number}" for number in range(len(plans))]
        upstream.plans.update(zip(names, plans, strict=True))
        odd_replies, sane_replies = ask_at_once(url, odd, sane, names, stream=kind == "streams")
        for name, reply in zip(names, odd_replies, strict=True):
            seen[reply.status] = seen.get(reply.status, 0) + 1
            try:
                check_shape(reply)
            except Exception as error:
                raise AssertionError(f"{upstream.plans[name]}: {error!r}") from error
        for reply in sane_replies:
            assert reply.status == 200, reply.text
            check_shape(reply)

    ask()
    print(f"\n{kind}: {sum(seen.values())} with statuses {seen}")
    assert sum(seen.values()) >= 20 * examples
    assert seen.get(200, 0) > 0.2 * sum(seen.values()), "too few of them reached an answer to say much"
    assert len(upstream.requests) - asked_before >= 0.95 * sum(seen.values()), "replies were never read"
    assert_books_hold(home, within_s=30)


def assert_books_hold(home, within_s):
    """Nothing stays set aside, every call is booked, and no key is above its budget."""
    ends = time.monotonic() + within_s
    while True:
        with sqlite3.connect(home / LEDGER_FILE) as db:
            reserved = db.execute("select coalesce(sum(reserved), 0) from spending").fetchone()[0]
            still_open = db.execute("select count(*) from calls where state = 'open'").fetchone()[0]
        if reserved == 0 and still_open == 0:
            break
        assert time.monotonic() < ends, f"{reserved} picodollars of {still_open} calls are still set aside"
        time.sleep(0.5)
    with sqlite3.connect(home / LEDGER_FILE) as db:
        costs = dict(db.execute("select key_id, sum(cost) from calls group by 1"))
        for key_id, spent in db.execute("select key_id, spent from spending"):
            assert spent == costs[key_id]
    for key in Ledger(home / LEDGER_FILE).list_keys():
        assert key.budget_usd is None or key.spent_usd <= key.budget_usd + 1e-12


PLANS = {
    "orderly": Plan(words=8, pace_s=0.02),
    "long": Plan(words=15, pace_s=0.1),
    "silent": Plan(words=8, usage=None),
    "failing": Plan(status=500, words=6, raw=b'{"error": {"message": "after the work"}}'),
    "busy": Plan(status=429, raw=b"{}", headers=(("retry-after", "1"),), bills=False),
    "broken": Plan(words=6, breaks="within"),
    "gone": Plan(words=6, breaks="before"),
    "stalling": Plan(words=2, begin_s=9.0),
}
WEIGHTS = (12, 6, 4, 2, 2, 2, 2, 1)


def kill_replica(deployment):
    import ray

    named = ray.util.list_named_actors(all_namespaces=True)
    for actor in named:
        if actor["name"].startswith(f"SERVE_REPLICA::leeroo#{deployment}#"):
            ray.kill(ray.get_actor(actor["name"], namespace="serve"), no_restart=True)
            return


def test_the_books_cover_the_upstreams_invoice(url, home, upstream):
    """1,000 mixed calls, whole and streamed, some left by their clients, while parts of the endpoint die."""
    secret = make_key(home, "mixed", budget_usd=5.0)
    upstream.plans |= PLANS
    first = len(upstream.bills)
    rng = random.Random(7)
    left, statuses = 0, {}

    async def client(session, calls):
        nonlocal left
        for _ in range(calls):
            plan = rng.choices(list(PLANS), WEIGHTS)[0]
            leave_s = rng.uniform(0.05, 1.0) if rng.random() < 0.15 else None
            model = rng.choice([ODD, SANE, "leeroo"])
            stream = rng.random() < 0.5
            reply = await post(session, url, secret, model, plan, stream=stream, leave_s=leave_s)
            if reply is None:
                left += 1
            else:
                statuses[reply.status] = statuses.get(reply.status, 0) + 1
                check_shape(reply)

    async def kill():
        for part in ("ingress", "bookkeeper", "ingress"):  # the ingress is what asks the experts
            await asyncio.sleep(8)
            await asyncio.to_thread(kill_replica, part)

    async def run():
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(kill(), *(client(session, 42) for _ in range(24)))

    asyncio.run(run())
    print(f"\n{sum(statuses.values())} replies {statuses}, {left} clients left")
    assert_books_hold(home, within_s=30)
    time.sleep(3)  # what the upstream still works on
    billed_usd = sum(bill.usd for bill in upstream.bills[first:])
    charged_usd, disputed_usd = booked_of(home, "mixed")
    print(f"billed ${billed_usd:.6f}, charged ${charged_usd:.6f}, disputed ${disputed_usd:.6f}")
    assert sum(statuses.values()) + left >= 1000
    assert charged_usd + disputed_usd >= billed_usd > 0
    assert charged_usd < 3 * billed_usd  # estimates err upward, and not without end


def booked_of(home, name):
    """What a key was charged, and what is disputed of its calls, in USD."""
    with sqlite3.connect(home / LEDGER_FILE) as db:
        charged, disputed = db.execute(
            "select coalesce(sum(cost), 0), coalesce(sum(disputed), 0) from calls join keys using (key_id)"
            " where name = ?",
            (name,),
        ).fetchone()
    return charged / PICO, disputed / PICO


@pytest.mark.parametrize("stream", [False, True])
def test_where_usage_is_told_the_charge_is_the_bill(url, home, upstream, stream):
    name = f"orderly-{stream}"
    secret, first = make_key(home, name), len(upstream.bills)

    async def run():
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            asked = [post(session, url, secret, SANE, "plain", stream=stream) for _ in range(60)]
            return await asyncio.gather(*asked)

    assert {reply.status for reply in asyncio.run(run())} == {200}
    assert_books_hold(home, within_s=30)
    bills = upstream.bills[first:]
    charged_usd, disputed_usd = booked_of(home, name)
    assert len(bills) == 60
    assert charged_usd == pytest.approx(sum(bill.usd for bill in bills), rel=1e-9)
    assert disputed_usd == 0


def test_what_is_claimed_beyond_the_reservation_is_the_operators_dispute(url, home, upstream):
    upstream.plans["claiming"] = Plan(words=6, usage={"prompt_tokens": 10**9, "completion_tokens": 10**9})
    secret, first = make_key(home, "claimed"), len(upstream.bills)

    async def run():
        async with aiohttp.ClientSession() as session:
            return [
                await post(session, url, secret, SANE, "claiming", stream=stream) for stream in (False, True)
            ]

    assert {reply.status for reply in asyncio.run(run())} == {200}
    assert_books_hold(home, within_s=30)
    charged_usd, disputed_usd = booked_of(home, "claimed")
    billed_usd = sum(bill.usd for bill in upstream.bills[first:])
    assert billed_usd <= charged_usd < 10 * billed_usd
    assert disputed_usd > 1000


#: Every way in which an upstream may hand the operator's key back.
ECHOES = {
    **{
        f"status-{status}": Plan(status=status, raw=b'{"error": {"message": "wrong key @AUTH@"}}')
        for status in (400, 401, 402, 403, 404, 408, 409, 410, 422, 425, 429, 451, 500, 502, 503, 529)
    },
    "page": Plan(status=401, raw=b"<html>@AUTH@</html>"),
    "error-in-200": Plan(raw=b'{"error": {"message": "@AUTH@", "code": "@AUTH@", "param": "@AUTH@"}}'),
    "cut": Plan(raw=b'{"choices": [{"message": {"content": "@AUTH@'),
    "said": Plan(raw=b'{"choices": [{"message": {"role": "assistant", "content": "@AUTH@"}}]}'),
    "header": Plan(status=429, raw=b"{}", headers=(("retry-after", SECRET), ("x-key", SECRET))),
}


def test_the_operators_key_comes_back_nowhere(url, home, upstream):
    from ray._private.worker import _global_node

    upstream.plans |= ECHOES
    secret, first = make_key(home, "curious"), len(upstream.bills)

    async def run():
        async with aiohttp.ClientSession() as session:
            asked = [
                post(session, url, secret, ODD, name, stream=stream)
                for name in ECHOES
                for stream in (False, True)
            ]
            async with session.get(f"{url}/metrics") as metrics:
                return [reply.text for reply in await asyncio.gather(*asked)], await metrics.text()

    replies, metrics = asyncio.run(run())
    assert len(replies) == 2 * len(ECHOES)
    assert any(bill.headers.get("authorization") == f"Bearer {SECRET}" for bill in upstream.bills[first:])
    assert [text for text in [*replies, metrics] if SECRET in text] == []
    places = [home, Path(_global_node.get_session_dir_path())]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in read_bytes(path)] == []
    lines = [read_bytes(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert [line for line in lines if SECRET.encode() in line] == []


def read_bytes(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""  # a socket, or gone
