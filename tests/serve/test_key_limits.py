"""What one key may: until when, with which secret, which models and dialects, from where."""

import asyncio
import ipaddress
from types import SimpleNamespace

import httpx
import pytest
from fake_experts import LocalLedger, LocalRouter, ScriptedExpert
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipelines.cli import app
from serve.config import ServeConfig
from serve.front import launcher
from serve.http import client_address as addresses
from serve.http.api import create_api
from serve.http.client_address import client_address
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, Grant, hash_secret
from serve.request.candidates.door import check_door, check_model
from serve.request.gateway import Gateway
from serve.wire.api_errors import ApiError
from serve.wire.constraints import Constraints
from serve.wire.dialects import DIALECT_PATHS, dialect_of
from warehouse import InputError

EXPERT = "smollm2-135m"
SAID = [{"role": "user", "content": "What is the capital of Peru?"}]
ASKED = {
    "chat": {"messages": SAID},
    "completions": {"prompt": "What is the capital of Peru?"},
    "responses": {"input": "What is the capital of Peru?"},
    "messages": {"messages": SAID, "max_tokens": 20, "model": "leeroo"},
    "embeddings": {"input": "Peru"},
    "rerank": {"query": "Peru", "documents": ["Lima", "Bern"]},
}
LIFETIME = {"lifetime_s": 900.0}


@pytest.fixture
def clock(monkeypatch):
    """The time that keys go by, wherever it is looked at."""
    clock = SimpleNamespace(now=1_900_000_000.0)
    told = SimpleNamespace(time=lambda: clock.now, monotonic=lambda: clock.now)
    for module in (
        *("serve.ledger.accounts.keys", "serve.ledger.accounts.settings", "serve.ledger.accounts.changing"),
        *("serve.ledger.ledger", "serve.http.authentication"),
    ):
        monkeypatch.setattr(f"{module}.time", told)
    return clock


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / LEDGER_FILE)


@pytest.fixture
def ask(orchestrator, tmp_path):
    """Ask one running application, so that it remembers whom it knows."""
    config = ServeConfig(home=tmp_path, access="keys")
    gateway = Gateway(
        config, LocalRouter(orchestrator), LocalLedger(config), {EXPERT: ScriptedExpert(EXPERT)}
    )
    api = create_api(gateway)

    def ask(secret, path=DIALECT_PATHS["chat"], body=None, *, client="203.0.113.7", headers=None):
        async def go():
            transport = httpx.ASGITransport(app=api, client=(client, 4711))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
                told = {"authorization": f"Bearer {secret}"} | (headers or {})
                if body is None and path.startswith("/v1/models"):
                    return await web.get(path, headers=told)
                return await web.post(path, json=body or {"messages": SAID}, headers=told)

        return asyncio.run(go())

    return ask


# Time.


def begin(ledger, caller, request_id, bound_usd=0.25):
    """Begin a call as the bookkeeper does."""
    refusal = ledger.refuse(caller, request_id)
    return refusal or ledger.reserve(caller.key_id, request_id, [bound_usd], **LIFETIME)


@pytest.mark.usefixtures("either_store")
def test_a_rotated_key_has_two_secrets_until_the_grace_is_over_and_one_budget(ledger, clock):
    key_id, first = ledger.create_key("ann", budget_usd=1.0, period="total", experts=["a"])
    old = ledger.identify(hash_secret(first))
    assert isinstance(begin(ledger, old, "r1", 0.5), Grant)
    assert ledger.rotate_key("ann", 600.0)[0] == key_id
    _, second = ledger.rotate_key("ann", 60.0)
    assert ledger.identify(hash_secret(first)) is None  # of three secrets two work at most
    _, third = ledger.rotate_key("ann", 60.0)
    before, now = (ledger.identify(hash_secret(one)) for one in (second, third))
    assert (before.key_id, before.experts) == (now.key_id, now.experts) == (key_id, ("a",))
    assert (before.valid_until, now.valid_until) == (clock.now + 60, None)
    for n, one in enumerate((before, now)):
        assert isinstance(begin(ledger, one, f"s{n}"), Grant)
    assert ledger.reserve(key_id, "s2", [0.25], **LIFETIME).code == "insufficient_quota"
    ledger.settle("r1", 0.0)
    clock.now += 60
    assert ledger.identify(hash_secret(second)) == "rotated"
    told = begin(ledger, before, "s3")
    assert (told.code, told.message) == (
        "invalid_api_key",
        "this secret of the key has been replaced; use the new one",
    )
    assert isinstance(begin(ledger, now, "s3"), Grant)
    ledger.rotate_key("ann", 0.0)
    assert ledger.identify(hash_secret(third)) == "rotated"
    assert begin(ledger, now, "s4").code == "invalid_api_key"
    for wrong in (-1.0, 1e9, float("nan")):
        with pytest.raises(InputError, match="grace"):
            ledger.rotate_key("ann", wrong)
    (key,) = ledger.list_keys()
    assert (key.spent_usd, key.reserved_usd) == (0.0, 0.75)


def test_a_key_expires_to_the_second_wherever_it_is_known(ask, ledger, clock):
    key_id, secret = ledger.create_key("ann", expires_at=clock.now + 10)
    assert ask(secret).status_code == 200
    clock.now += 9
    assert ask(secret).status_code == 200
    ledger.reserve(key_id, "under way", [0.25], **LIFETIME)
    clock.now += 1  # the ingress has known it for less than the time that it remembers keys
    reply = ask(secret)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert reply.json()["error"]["message"] == "this key has expired"
    assert ledger.reserve(key_id, "r", [0.25], **LIFETIME).message == "this key has expired"
    assert ledger.settle("under way", 0.25).charged_usd == 0.25
    assert ledger.list_keys()[0].is_expired
    ledger.change_key("ann", expires_at=clock.now + 100)
    clock.now += 3
    assert ask(secret).status_code == 200
    with pytest.raises(InputError, match="expired already"):
        ledger.change_key("ann", expires_at=clock.now)


def test_an_old_secret_is_answered_to_the_end_of_its_grace_and_not_beyond(ask, ledger, clock):
    _, old = ledger.create_key("ann", budget_usd=1.0)
    assert ask(old).status_code == 200
    _, new = ledger.rotate_key("ann", 40.0)
    clock.now += 31  # what the ingress remembered of it is forgotten
    assert [ask(secret).status_code for secret in (old, new)] == [200, 200]
    clock.now += 9
    assert [ask(secret).status_code for secret in (old, new)] == [401, 200]
    assert "replaced" in ask(old).json()["error"]["message"]
    (key,) = ledger.list_keys()
    assert (key.requests, key.reserved_usd) == (4, 0)
    _, newest = ledger.rotate_key("ann", 0.0)
    assert [ask(secret).status_code for secret in (new, newest)] == [401, 200]  # at once, though it is known


# What it may be used for.


def error_of(dialect, reply):
    """The message of a refusal, in the shape that clients of its dialect read."""
    told = reply.json()
    if dialect == "messages":
        assert told["type"] == "error"
        assert told["error"]["type"] == "permission_error"
    else:
        assert set(told) == {"error"}
        assert told["error"]["type"] == "permission_error"
        assert told["error"]["code"] in ("dialect_not_allowed", "address_not_allowed", "model_not_allowed")
    return told["error"]["message"]


@pytest.mark.parametrize("dialect", DIALECT_PATHS)
def test_every_dialect_words_what_a_key_may_not_in_its_own_shape(ask, ledger, dialect):
    path, other = DIALECT_PATHS[dialect], "chat" if dialect != "chat" else "messages"
    paths = [path, f"{path}/count_tokens"] if dialect == "messages" else [path]
    _, elsewhere = ledger.create_key("elsewhere", networks=["10.0.0.0/8", "2001:db8::/32"])
    _, spoken = ledger.create_key("spoken", dialects=[other])
    _, named = ledger.create_key("named", models=["leeroo:economy", "other"])
    for path in paths:
        body = ASKED[dialect]
        reply = ask(elsewhere, path, body)
        assert reply.status_code == 403
        assert error_of(dialect, reply) == "this key may not be used from the address 203.0.113.7"
        reply = ask(spoken, path, body)
        assert reply.status_code == 403
        assert f"not for {path} ({dialect}); it is for {other}" in error_of(dialect, reply)
        reply = ask(named, path, body | {"model": "leeroo"})
        assert reply.status_code == 403
        assert error_of(dialect, reply) == (
            "this key is not for model 'leeroo'; it is for leeroo:economy, other"
        )
    assert ask(elsewhere, path, body, client="10.1.2.3").status_code != 403
    assert ask(elsewhere, path, body, client="::ffff:10.1.2.3").status_code != 403
    assert all(
        key.spent_usd == key.reserved_usd == 0 for key in ledger.list_keys() if key.name != "elsewhere"
    )


def test_a_key_for_model_names_may_not_talk_its_way_to_others(ask, ledger):
    _, secret = ledger.create_key("ann", models=["leeroo:quality", EXPERT])
    assert ask(secret, body={"messages": SAID, "model": EXPERT}).status_code == 200
    assert ask(secret, body={"messages": SAID}).status_code == 403  # leeroo is not among them
    reply = ask(secret, body={"messages": SAID, "model": "leeroo:quality", "multiplier": 0.0})
    assert (reply.status_code, reply.json()["error"]["param"]) == (403, "multiplier")
    route = ask(secret, "/v1/route", {"query": "What?"})
    assert (route.status_code, route.json()["error"]["code"]) == (403, "model_not_allowed")
    assert {card["id"] for card in ask(secret, "/v1/models").json()["data"]} <= {"leeroo:quality", EXPERT}
    assert ask(secret, "/v1/models/leeroo").status_code == 404


#: Every field of a request that says who answers.
CHOOSING = {"experts": [EXPERT], "min_success": 1.0, "max_cost_usd": 1.0, "multiplier": 0.5}


@pytest.mark.parametrize("field", Constraints.model_fields)
@pytest.mark.parametrize("dialect", DIALECT_PATHS)
def test_no_field_of_any_dialect_chooses_for_a_key_that_is_limited_to_names(ask, ledger, dialect, field):
    _, free = ledger.create_key("free")
    _, secret = ledger.create_key("ann", models=["leeroo:economy"])
    body = ASKED[dialect] | {"model": "leeroo:economy", field: CHOOSING[field]}
    paths = [DIALECT_PATHS[dialect]] + ["/v1/messages/count_tokens"] * (dialect == "messages")
    for path in paths:
        reply = ask(secret, path, body)
        assert (reply.status_code, field in error_of(dialect, reply)) == (403, True)
        assert dialect == "messages" or reply.json()["error"]["param"] == field
        assert ask(free, path, body).status_code != 403
    reply = ask(secret, "/v1/route", {"query": "What?", "preset": "economy", field: CHOOSING[field]})
    assert (reply.status_code, reply.json()["error"]["param"]) == (403, field)


NAMES = st.lists(st.sampled_from(["leeroo", "leeroo:economy", EXPERT]), min_size=1, max_size=3)
NETWORKS = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
        lambda told: str(ipaddress.ip_network(told, strict=False))
    ),
    min_size=1,
    max_size=3,
)


@given(
    st.none() | NAMES.map(tuple),
    st.none() | st.lists(st.sampled_from([*DIALECT_PATHS]), min_size=1, max_size=3).map(tuple),
    st.none() | NETWORKS.map(tuple),
    st.sampled_from([*DIALECT_PATHS.values(), "/v1/messages/count_tokens", "/v1/models", "/v1/route"]),
    st.none() | st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address),
    st.sampled_from(["leeroo", "leeroo:economy", EXPERT]),
    st.dictionaries(st.sampled_from([*CHOOSING]), st.none(), max_size=2).map(
        lambda told: Constraints(**{name: CHOOSING[name] for name in told})
    ),
)
def test_whatever_a_key_is_limited_to_it_is_let_in_exactly_where_all_limits_allow_it(
    models, dialects, networks, path, address, model, wanted
):
    caller = Caller("key-1", models=models, dialects=dialects, networks=networks)
    is_there = networks is None or (
        address is not None and any(address in ipaddress.ip_network(one) for one in networks)
    )
    speaks = dialects is None or dialect_of(path) in (None, *dialects)

    def lets_in(check):
        try:
            check()
        except ApiError as refusal:
            return refusal.status != 403
        return True

    assert lets_in(lambda: check_door(caller, path, address)) == (is_there and speaks)
    assert lets_in(lambda: check_model(caller, model, wanted)) == (
        models is None or (model in models and not wanted.model_fields_set)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        *({"networks": ["10.0.0.0/33"]}, {"networks": ["here"]}, {"dialects": ["ftp"]}),
        *({"models": [" "]}, {"experts": [""]}, {"expires_at": 5.0}, {"expires_at": float("nan")}),
    ],
)
def test_limits_that_are_none_are_refused(ledger, wrong):
    with pytest.raises(InputError):
        ledger.create_key("ann", **wrong)
    assert ledger.list_keys() == []


# Where a request comes from.

IPS = st.sampled_from(["203.0.113.7", "10.0.0.1", "10.0.0.2", "127.0.0.1", "::1", "192.168.1.1"])


def scope_of(peer, forwarded=(), own=None):
    headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
    headers += [(addresses.PEER_HEADER.encode(), one.encode()) for one in own or ()]
    return {"type": "http", "client": (peer, 1), "headers": headers}


@given(IPS, st.lists(IPS | st.text("0123456789.:, x", max_size=9), max_size=3), st.text(max_size=20))
def test_nothing_that_a_client_writes_changes_its_address(peer, forwarded, forged):
    forged = forged.encode("ascii", "ignore").decode().replace("\n", "")
    found = client_address(scope_of(peer, forwarded, [forged]), ())
    # None where the server may have replaced the address already, which is then let in nowhere.
    assert found in (ipaddress.ip_address(peer), None)
    if peer not in ",".join(forwarded):
        assert found is not None


def test_haproxys_word_is_believed_with_its_secret_alone(monkeypatch):
    monkeypatch.setenv(addresses.FRONT_SECRET, "s3cret")
    for own, found in (
        (["s3cret 203.0.113.7"], "203.0.113.7"),
        (["s3cret ::ffff:203.0.113.7"], "203.0.113.7"),
        (["guess 10.0.0.1"], "127.0.0.1"),
        ([" 10.0.0.1"], "127.0.0.1"),
        (["s3cret 203.0.113.7", "s3cret 10.0.0.1"], "127.0.0.1"),  # HAProxy sends one
        ([], "127.0.0.1"),
    ):
        assert client_address(scope_of("127.0.0.1", (), own), ()) == ipaddress.ip_address(found), own
    forwarded = client_address(scope_of("127.0.0.1", ["10.0.0.1"], ["s3cret 203.0.113.7"]), ())
    assert forwarded == ipaddress.ip_address("203.0.113.7")
    monkeypatch.setenv(addresses.FRONT_SECRET, "")
    assert client_address(scope_of("127.0.0.1", (), [" 10.0.0.1"]), ()) == ipaddress.ip_address("127.0.0.1")
    assert (launcher.FRONT_SECRET, launcher.PEER_HEADER) == (addresses.FRONT_SECRET, addresses.PEER_HEADER)


def test_a_proxy_that_the_operator_trusts_is_believed_as_far_as_it_saw():
    trusted = ("10.0.0.0/24", "127.0.0.0/8")
    for peer, forwarded, found in (
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # what the client wrote lies further left
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:52100"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::7]:443"], "2001:db8::7"),
        ("198.51.100.9", ["1.1.1.1"], "198.51.100.9"),
        ("198.51.100.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # as the server has replaced it
        ("10.0.0.1", [], "10.0.0.1"),
    ):
        assert client_address(scope_of(peer, forwarded), trusted) == ipaddress.ip_address(found), forwarded
    assert client_address(scope_of("10.0.0.1", ["unknown"]), trusted) is None
    with pytest.raises(InputError, match="trusted_proxies"):
        ServeConfig.parse({"trusted_proxies": ["everybody"]})


def test_the_command_line_limits_rotates_and_lists_keys(tmp_path):
    def run(*words):
        done = CliRunner().invoke(app, ["keys", *words, "--home", str(tmp_path)], env={"COLUMNS": "80"})
        if done.exit_code and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    limits = ["--model", "leeroo", "--dialect", "chat", "--dialect", "messages", "--network", "10.0.0.1/8"]
    first = run("create", "ann", "--expires", "30d", *limits).split()[-1]
    second = run("rotate", "ann", "--grace", "2h").split()[-1]
    ledger = Ledger(tmp_path / LEDGER_FILE)
    old, new = (ledger.identify(hash_secret(one)) for one in (first, second))
    assert (old.rotation, new.rotation) == (0, 1)
    assert old.networks == ("10.0.0.0/8",)
    assert old.valid_until < new.valid_until
    shown = run("list")
    assert "messages" in shown
    assert max(map(len, shown.splitlines())) <= 80
    run("set", "ann", "--clear", "network", "--clear", "expires")
    (key,) = ledger.list_keys()
    assert (key.networks, key.expires_at) == (None, None)
    run("set", "ann", "--expires", "2090-01-31T12:00")
    assert ledger.list_keys()[0].expires_at == "2090-01-31T12:00:00Z"
    for wrong in (["--expires", "soon"], ["--expires", "1999-01-01"], ["--clear", "nothing"]):
        with pytest.raises(InputError):
            run("set", "ann", *wrong)
    with pytest.raises(InputError, match="duration"):
        run("rotate", "ann", "--grace", "a while")
