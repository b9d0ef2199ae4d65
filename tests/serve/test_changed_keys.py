"""A key that is changed is judged by what it may now, at the next request, on every ingress."""

import asyncio

import httpx
import pytest
from fake_experts import LocalLedger, LocalRouter, ScriptedExpert, VectorExpert
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Grant, Refusal, hash_secret
from serve.ledger.store.tables import FORMAT
from serve.request.gateway import Gateway
from serve.wire.dialects import DIALECT_PATHS

ONE, OTHER, VECTORS = "smollm2-135m", "gemma-3-270m", "bge"
SAID = [{"role": "user", "content": "What is the capital of Peru?"}]
MODELS = ("leeroo", "leeroo:economy", "leeroo:quality", ONE, OTHER)
BODIES = {
    "chat": {"messages": SAID},
    "completions": {"prompt": "What is the capital of Peru?"},
    "responses": {"input": "What is the capital of Peru?"},
    "messages": {"messages": SAID, "max_tokens": 20},
}
REQUESTS = st.one_of(
    st.tuples(
        st.sampled_from([*BODIES]).map(lambda name: (DIALECT_PATHS[name], BODIES[name])),
        st.sampled_from(MODELS).map(lambda name: {"model": name}),
        st.sampled_from([{}, {}, {"experts": [ONE]}, {"stream": True}]),
    ).map(lambda told: (told[0][0], told[0][1] | told[1] | told[2])),
    st.sampled_from(
        [
            ("/v1/embeddings", {"input": "Peru", "model": VECTORS}),
            ("/v1/messages/count_tokens", {"messages": SAID, "model": "leeroo"}),
            ("/v1/route", {"query": "What is the capital of Peru?"}),
            ("/v1/route", {"query": "What is the capital of Peru?", "preset": "economy"}),
            ("/v1/models", None),
            ("/v1/overview", None),
            ("/v1/operate", {"action": "open"}),
        ]
    ),
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "experts": st.none() | st.sets(st.sampled_from([ONE, OTHER, VECTORS, "gone"]), min_size=1).map(list),
        "models": st.none() | st.sets(st.sampled_from([*MODELS, VECTORS]), min_size=1).map(list),
        "dialects": st.none() | st.sets(st.sampled_from([*DIALECT_PATHS]), min_size=1).map(list),
        "networks": st.none() | st.sampled_from([["10.0.0.0/8"], ["203.0.113.0/24"]]),
        "preset": st.none() | st.sampled_from(["economy", "quality"]),
        "max_experts_asked": st.none() | st.integers(1, 3),
        "record": st.none() | st.sampled_from(["none", "features"]),
        "operator": st.booleans(),
        "paced_over": st.none() | st.integers(1, 1000),
        "budget_usd": st.sampled_from([1.0, 5.0]),
    },
)


def gateway_of(orchestrator, home, **fields):
    config = ServeConfig(home=home, access="keys", **fields)
    experts = {name: ScriptedExpert(name) for name in (ONE, OTHER)} | {VECTORS: VectorExpert(VECTORS)}
    return Gateway(config, LocalRouter(orchestrator), LocalLedger(config), experts)


async def ask(api, secret, path=DIALECT_PATHS["chat"], body=None):
    transport = httpx.ASGITransport(app=api, client=("203.0.113.7", 4711), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
        headers = {"authorization": f"Bearer {secret}"}
        return await web.request("GET" if body is None else "POST", path, json=body, headers=headers)


def told_by(reply):
    """What a reply comes to, without what differs from one to the next of the same request."""
    if reply.headers["content-type"].startswith("text/event-stream"):
        return reply.status_code, reply.headers.get("x-leeroo-expert")
    told = reply.json()
    if reply.status_code != 200:
        return reply.status_code, told["error"]
    if "requests" in told:  # the overview
        return 200, told.get("keys") and [key.get("name") for key in told["keys"]]
    rows = told["data"] if told.get("object") == "list" else []
    return 200, told.get("model"), [row.get("id") for row in rows]


@pytest.fixture(scope="module")
def known_and_unknown(orchestrator, tmp_path_factory):
    """Two applications around one gateway: one remembers keys, the other never does."""
    home = tmp_path_factory.mktemp("home")
    gateway = gateway_of(orchestrator, home)
    return Ledger(home / LEDGER_FILE), create_api(gateway), create_api(gateway), gateway


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(st.tuples(CHANGES, REQUESTS), min_size=1, max_size=5))
def test_who_remembers_a_key_answers_as_who_has_never_seen_it(known_and_unknown, steps):
    keys, remembers, forgets, gateway = known_and_unknown
    key_id, secret = keys.create_key(f"ann {len(keys.list_keys())}", budget_usd=5.0)

    async def go():
        for change, (path, body) in steps:
            await ask(remembers, secret, body={"messages": SAID})  # whatever it is now is known
            keys.change_key(key_id, **change)
            told = told_by(await ask(remembers, secret, path, body))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("serve.http.authentication.KNOWN_FOR_S", -1.0)
                assert told == told_by(await ask(forgets, secret, path, body)), (change, path, body)
        await gateway.drain(5.0)

    asyncio.run(go())
    assert keys.find_key(key_id).reserved_usd == 0


def test_nothing_is_recorded_of_the_request_after_the_key_said_so_and_its_rate_is_the_new_one(
    orchestrator, tmp_path
):
    gateway, keys = gateway_of(orchestrator, tmp_path), Ledger(tmp_path / LEDGER_FILE)
    _, secret = keys.create_key("ann", budget_usd=1.0)
    api, looks = create_api(gateway), []
    identify = gateway.ledger.identify

    async def counted(secret_hash):
        looks.append(secret_hash)
        return await identify(secret_hash)

    gateway.ledger.identify = counted

    async def go():
        for _ in range(5):
            assert (await ask(api, secret, body={"messages": SAID})).status_code == 200
        assert len(looks) == 1  # a key that is not changed is looked up once
        await gateway.drain(5.0)
        kept = keys._db.one("select count(*) as rows from traffic")["rows"]
        assert kept == 5
        keys.change_key("ann", record="none", requests_per_minute=2)
        codes = [(await ask(api, secret, body={"messages": SAID})).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        assert len(looks) == 2  # one look for one change
        await gateway.drain(5.0)
        assert keys._db.one("select count(*) as rows from traffic")["rows"] == kept
        keys.change_key("ann", requests_per_minute=None)
        assert (await ask(api, secret, body={"messages": SAID})).status_code == 200

    asyncio.run(go())


def test_a_key_that_is_changed_again_and_again_is_refused_in_the_error_shape(orchestrator, tmp_path):
    gateway, keys = gateway_of(orchestrator, tmp_path), Ledger(tmp_path / LEDGER_FILE)
    _, secret = keys.create_key("ann", budget_usd=1.0)
    api, reserve = create_api(gateway), gateway.ledger.reserve

    async def changed_meanwhile(reservation):
        keys.change_key("ann", requests_per_minute=100)
        return await reserve(reservation)

    async def go():
        assert (await ask(api, secret, body={"messages": SAID})).status_code == 200
        gateway.ledger.reserve = changed_meanwhile
        replies = [await ask(api, secret, DIALECT_PATHS[name], BODIES[name]) for name in BODIES]
        gateway.ledger.reserve = reserve
        assert {reply.status_code for reply in replies} == {409}
        assert replies[0].json()["error"]["code"] == "key_changed"
        assert replies[-1].json()["type"] == "error"
        assert (await ask(api, secret, body={"messages": SAID})).status_code == 200
        await gateway.drain(5.0)

    asyncio.run(go())
    assert keys.list_keys()[0].reserved_usd == 0


def test_every_change_is_counted_and_what_was_granted_before_is_granted_again(tmp_path, either_store):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    key_id, secret = ledger.create_key("ann", budget_usd=1.0, period="total")
    first = ledger.identify(hash_secret(secret))
    assert ledger.refuse(first, "r1") is None
    granted = ledger.reserve(key_id, "r1", [0.5], lifetime_s=900.0)
    assert isinstance(granted, Grant)
    for change in (
        lambda: ledger.change_key("ann", record="none"),
        lambda: ledger.change_key("ann", experts=["a"]),
        lambda: ledger.rotate_key("ann", 60.0),
    ):
        before = ledger.identify(hash_secret(secret))
        change()
        assert ledger.refuse(before, "r2").code == "key_changed"
        now = ledger.identify(hash_secret(secret))
        assert now.changes == before.changes + 1
        assert ledger.refuse(now, "r2") is None
    # Its reply may have been lost: the request is under way.
    assert ledger.refuse(first, "r1") is None
    assert ledger.reserve(key_id, "r1", [0.5], lifetime_s=900.0) == granted
    ledger.revoke_key("ann")
    assert isinstance(ledger.refuse(now, "r2"), Refusal)
    assert ledger.refuse(now, "r1") is None
    assert ledger.reserve(key_id, "r1", [0.5], lifetime_s=900.0) == granted
    assert ledger.reserve(key_id, "r2", [0.5], lifetime_s=900.0).code == "invalid_api_key"


def test_a_ledger_of_the_version_before_counts_changes(tmp_path, either_store):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    _, secret = ledger.create_key("ann", budget_usd=1.0)
    ledger._db.write("alter table keys drop column changes")
    old = str(FORMAT - 1)
    words = f"pragma user_version = {old}" if either_store is None else f"update about set told = '{old}'"
    ledger._db.write(words)
    ledger.close()
    again = Ledger(tmp_path / LEDGER_FILE)
    assert again.identify(hash_secret(secret)).changes == 0
    again.change_key("ann", preset="economy")
    known = again.identify(hash_secret(secret))
    assert (known.preset, known.changes) == ("economy", 1)
