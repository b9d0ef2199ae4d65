"""The admin API and usage: what the commands do, by an admin's key alone, noted, and without secrets."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from fake_experts import LocalLedger, LocalRouter, ScriptedExpert
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipelines.cli import app
from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.accounts.usage import Used
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, Figures, Reservation, Settlement, hash_secret
from serve.request.gateway import Gateway
from warehouse import InputError

EXPERT = "smollm2-135m"
SAID = {"messages": [{"role": "user", "content": "What is the capital of Peru?"}]}
PICO = 10**12
CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # a busy machine is no fault
pytestmark = pytest.mark.usefixtures("either_store")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / LEDGER_FILE)


@pytest.fixture
def ask(orchestrator, tmp_path):
    config = ServeConfig(home=tmp_path)
    experts = {EXPERT: ScriptedExpert(EXPERT)}
    api = create_api(Gateway(config, LocalRouter(orchestrator), LocalLedger(config), experts))

    def ask(secret, method, path, body=None):
        async def go():
            transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
                headers = {"authorization": f"Bearer {secret}"} if secret else {}
                return await web.request(method, path, json=body, headers=headers)

        return asyncio.run(go())

    return ask


CALLS = [
    *(("GET", f"/v1/admin/{what}", None) for what in ("keys", "teams", "usage", "alerts", "log")),
    ("POST", "/v1/admin/keys", {"name": "eve"}),
    ("PATCH", "/v1/admin/keys/ann", {"budget_usd": 5}),
    ("POST", "/v1/admin/keys/ann/rotate", {}),
    ("DELETE", "/v1/admin/keys/ann", None),
    ("POST", "/v1/admin/teams", {"name": "t"}),
    ("PATCH", "/v1/admin/teams/t", {"budget_usd": 5}),
    ("DELETE", "/v1/admin/teams/t", None),
]


def test_without_an_admins_key_nobody_gets_in_not_even_where_it_is_open(ask, ledger):
    for method, path, body in CALLS:
        assert ask(None, method, path, body).status_code == 403  # open to this machine, but not for this
    _, ann = ledger.create_key("ann")
    _, operator = ledger.create_key("op", operator=True)
    for method, path, body in CALLS:
        assert ask(None, method, path, body).status_code in (401, 403)  # closed within two seconds
        for secret in (ann, operator):
            reply = ask(secret, method, path, body)
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "admins_only")
    assert [key.name for key in ledger.list_keys()] == ["ann", "op"]
    assert ledger.log.list_deeds() == []


def test_an_admin_does_what_the_commands_do_and_it_is_noted(ask, ledger):
    admin_id, root = ledger.create_key("root", admin=True)
    assert ask(root, "POST", "/v1/chat/completions", SAID).status_code == 403  # it manages, and asks nothing
    assert ask(root, "GET", "/v1/models").status_code == 403
    made = ask(root, "POST", "/v1/admin/teams", {"name": "lab", "budget_usd": 2.0, "period": "day"})
    assert made.status_code == 201
    new = {"name": "ann", "team": "lab", "budget_usd": 1.0, "alert_at": [90], "dialects": ["chat"]}
    new |= {"networks": ["127.0.0.0/8"], "expires_at": "2090-01-01T00:00:00Z"}
    key = ask(root, "POST", "/v1/admin/keys", new).json()
    assert ask(key["secret"], "POST", "/v1/chat/completions", SAID).status_code == 200
    changed = ask(root, "PATCH", f"/v1/admin/keys/{key['id']}", {"budget_usd": None, "networks": None})
    assert changed.json()["id"] == key["id"]
    assert changed.json()["secret"] is None
    assert ask(root, "PATCH", "/v1/admin/teams/lab", {"budget_usd": 3.0}).status_code == 200
    (one,) = [row for row in ask(root, "GET", "/v1/admin/keys").json()["data"] if row["name"] == "ann"]
    assert (one["budget_usd"], one["networks"], one["team"]) == (None, None, "lab")
    assert (one["expires_at"], one["alert_at"]) == ("2090-01-01T00:00:00Z", [90])
    (team,) = ask(root, "GET", "/v1/admin/teams").json()["data"]
    assert (team["budget_usd"], team["period"], team["requests"]) == (3.0, "day", 1)
    rotated = ask(root, "POST", "/v1/admin/keys/ann/rotate", {"grace_s": 0}).json()
    assert ask(rotated["secret"], "POST", "/v1/chat/completions", SAID).status_code == 200
    assert ask(key["secret"], "POST", "/v1/chat/completions", SAID).status_code == 401
    usage = ask(root, "GET", "/v1/admin/usage?by=team,expert").json()["data"]
    assert [(row["team"], row["expert"], row["answers"]) for row in usage] == [("lab", EXPERT, 2)]
    assert ask(root, "DELETE", "/v1/admin/keys/ann").status_code == 200
    assert ask(root, "DELETE", "/v1/admin/teams/lab").status_code == 200
    deeds = ledger.log.list_deeds()
    assert [deed.action for deed in reversed(deeds)] == [
        *("teams.create", "keys.create", "keys.change", "teams.change", "keys.rotate"),
        *("keys.revoke", "teams.remove"),
    ]
    assert {deed.actor for deed in deeds} == {admin_id}
    everything = json.dumps(
        [ask(root, "GET", f"/v1/admin/{what}").text for what in ("keys", "teams", "alerts", "log", "usage")]
    )
    for secret in (root, key["secret"], rotated["secret"]):
        assert secret not in everything
        assert hash_secret(secret) not in everything


def test_what_does_not_hold_together_changes_nothing_and_is_told(ask, ledger):
    _, root = ledger.create_key("root", admin=True)
    _, other = ledger.create_key("other", admin=True)
    ledger.create_key("ann")
    before = [key.name for key in ledger.list_keys()]
    for status, method, path, body in (
        (400, "POST", "/v1/admin/keys", {"name": "ann"}),
        (400, "POST", "/v1/admin/keys", {"name": "x", "admin": True}),
        (400, "POST", "/v1/admin/keys", {"name": "x", "budget_usd": -1}),
        (400, "POST", "/v1/admin/keys", {"name": "x", "networks": ["here"]}),
        (404, "POST", "/v1/admin/keys", {"name": "x", "team": "nobody"}),
        (404, "PATCH", "/v1/admin/keys/nobody", {"budget_usd": 1}),
        (404, "DELETE", "/v1/admin/teams/nobody", None),
        (400, "GET", "/v1/admin/usage?by=weather", None),
        (403, "POST", "/v1/admin/keys/other/rotate", {}),
        (403, "DELETE", "/v1/admin/keys/other", None),
        (403, "PATCH", "/v1/admin/keys/root", {"budget_usd": 1}),
    ):
        reply = ask(root, method, path, body)
        assert reply.status_code == status, (method, path, reply.text)
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert [key.name for key in ledger.list_keys()] == before
    assert ledger.log.list_deeds() == []
    own = ask(root, "POST", "/v1/admin/keys/root/rotate", {"grace_s": 0}).json()["secret"]
    assert ask(root, "GET", "/v1/admin/keys").status_code == 401  # the ledger looks again
    assert ask(own, "GET", "/v1/admin/keys").status_code == 200
    ledger.revoke_key("other")
    assert ask(other, "GET", "/v1/admin/keys").status_code == 401


# Usage.

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["settle", "settle", "fail", "die", "die late", "move", "again"]),
        st.integers(0, 2),
        st.sampled_from(["a", "b"]),
        st.integers(0, 10**12),
    ),
    max_size=20,
)


def test_usage_is_what_was_charged_to_the_picodollar_however_calls_end(either_store):
    @settings(
        deadline=None, max_examples=10 if either_store else 60, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(STEPS)
    def add_up(steps):
        with TemporaryDirectory() as home:
            check_usage(Path(home), steps)

    add_up()


def check_usage(home, steps):
    ledger = Ledger(home / LEDGER_FILE)
    bookkeeper = Bookkeeper(ServeConfig(home=home, access="keys"))
    teams = ["", ledger.create_team("t") and "t", ledger.create_team("u") and "u"]
    keys = [ledger.create_key(f"k{n}", period="total")[0] for n in range(3)]
    of = dict.fromkeys(keys, "")
    costs, answers = Counter(), Counter()
    for number, (what, n, expert, pico) in enumerate(steps):
        key_id, request_id = keys[n], f"r{number}"
        if what == "move":
            of[key_id] = teams[pico % 3]
            ledger.change_key(key_id, team=of[key_id] or None)
            continue
        caller, team = Caller(key_id, changes=ledger.key_row(key_id)["changes"]), of[key_id]
        reserve = Reservation(request_id, caller, (1.0,), owner=request_id, likely_usd=(0.5,))
        asyncio.run(bookkeeper.write([reserve]))
        if what.startswith("die"):
            ledger.bury(request_id)
        figures = Figures(expert, {"prompt_tokens": 3, "completion_tokens": "many"}, 0.1)
        answer = None if what == "fail" else figures
        failures = ((expert, 500),) if what == "fail" else ()
        settlement = Settlement(request_id, caller, pico / PICO, answer=answer, failures=failures)
        if what == "die":
            costs[f"k{n}", team, ""] += PICO // 2
            continue
        repeats = 1 + (what == "again")
        asyncio.run(bookkeeper.write([settlement] * repeats))
        costs[f"k{n}", team, expert] += pico
        answers[f"k{n}", team, expert] += answer is not None
    rows = ledger.usage.sum_up(["key", "team", "expert"])
    told = {(row.key, row.team, row.expert): round(row.cost_usd * PICO) for row in rows if row.cost_usd}
    assert told == {about: cost for about, cost in costs.items() if cost}
    assert {(row.key, row.team, row.expert): row.answers for row in rows if row.answers} == {
        about: n for about, n in answers.items() if n
    }
    assert all(row.prompt_tokens == 3 * row.answers and row.completion_tokens == 0 for row in rows)
    for key in ledger.list_keys():
        of_key = [row for row in ledger.usage.sum_up(["key"]) if row.key == key.name]
        assert round(sum(row.cost_usd for row in of_key) * PICO) == round(key.spent_usd * PICO)
    ledger.close()


def test_usage_is_told_by_day_and_by_what_is_asked(ledger, tmp_path):
    ann, _ = ledger.create_key("ann", period="total")
    day = 86_400.0
    for n, days in enumerate((10, 10, 12)):
        ledger.reserve(ann, f"r{n}", [1.0], lifetime_s=1e9, now=days * day)
        ledger.settle(f"r{n}", 0.25, used=Used("a", 1, 10, 5))
    by_day = ledger.usage.sum_up(["day"])
    assert [(row.day, row.key, row.answers, row.cost_usd) for row in by_day] == [
        ("1970-01-11", None, 2, 0.5),
        ("1970-01-13", None, 1, 0.25),
    ]
    (total,) = ledger.usage.sum_up([], "1970-01-12", "1970-01-13")
    assert (total.prompt_tokens, total.completion_tokens, total.cost_usd) == (10, 5, 0.25)

    def run(*words):
        where = ["--home", str(tmp_path), "--since", "1970-01-01"]
        done = CliRunner().invoke(app, ["usage", *words, *where], env={"COLUMNS": "80"})
        assert done.exit_code == 0, done.exception
        return done.stdout

    shown = run("--by", "day,key,team,expert")
    assert "1970-01-13" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert [json.loads(line)["answers"] for line in run("--by", "day", "--json").splitlines()] == [2, 1]
    assert len(run("--csv").splitlines()) == 2


def test_commands_are_noted_too(ledger, tmp_path):
    for words in (["keys", "create", "ann"], ["keys", "rotate", "ann"], ["teams", "create", "lab"]):
        done = CliRunner().invoke(app, [*words, "--home", str(tmp_path)])
        assert done.exit_code == 0, done.exception
    deeds = ledger.log.list_deeds()
    assert sorted(deed.action for deed in deeds) == ["keys.create", "keys.rotate", "teams.create"]
    assert all(deed.actor.startswith("command line") for deed in deeds)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/rotate", {"grace_s": 0}), ("PATCH", "", {"budget_usd": 1}), ("DELETE", "", None)],
)
def test_an_admins_key_is_out_of_reach_whatever_keys_of_its_name_there_were(ask, ledger, method, path, body):
    _, root = ledger.create_key("root", admin=True)
    for is_admin in (False, True, False, True):
        key_id, _ = ledger.create_key("svc", admin=is_admin)
        if is_admin:
            for named in ("svc", key_id):
                assert ask(root, method, f"/v1/admin/keys/{named}{path}", body).status_code == 403
        else:  # nor is a plain key of the name of an admin that was
            assert ask(root, "PATCH", "/v1/admin/keys/svc", {"budget_usd": 2}).status_code == 200
        ledger.revoke_key("svc")
    assert ask(root, "POST", "/v1/admin/keys", {"name": "svc"}).status_code == 201


def test_an_empty_list_is_no_limit_and_opens_nothing(ask, ledger):
    _, root = ledger.create_key("root", admin=True)
    limits = {"experts": [EXPERT], "models": ["leeroo"], "dialects": ["chat"], "networks": ["10.0.0.0/8"]}
    ledger.create_key("ann", **limits)
    for name in limits:
        assert ask(root, "PATCH", "/v1/admin/keys/ann", {name: []}).status_code == 400
        with pytest.raises(InputError, match="empty list"):
            ledger.create_key("eve", **{name: []})
    (ann,) = [key for key in ledger.list_keys() if key.name == "ann"]
    assert {name: list(getattr(ann, name)) for name in limits} == limits
