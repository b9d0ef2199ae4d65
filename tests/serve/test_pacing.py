"""A key whose budget is spread over its requests: nobody is refused, little is left, nothing is passed."""

import asyncio
import sqlite3
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import LocalLedger, ScriptedExpert

from pipelines.cli import app
from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.request.gateway import Gateway
from serve.router.deployment import Router
from serve.router.messages import Query
from warehouse import InputError, LeerooError

REQUESTS = 240
CHEAP_USD, DEAR_USD = 150 * 0.01e-6, 150 * 0.02e-6  # what the scripted answers cost
CITIES = ("France", "Peru", "Kenya", "Japan", "Norway", "Chile", "Egypt", "Ghana", "Italy", "Nepal")


class OneRouter:
    """The real router's process, asked from within this one."""

    def __init__(self, config):
        self._router = Router(config)

    async def decide(self, query):
        (ruling,) = await self._router.decide([query])
        if isinstance(ruling, LeerooError):
            raise ruling
        return ruling


@pytest.fixture
def endpoint(router_dir, tmp_path):
    config = ServeConfig(home=tmp_path, access="keys", router_dir=router_dir)
    experts = {name: ScriptedExpert(name) for name in ("smollm2-135m", "gemma-3-270m")}
    return Gateway(config, OneRouter(config), LocalLedger(config), experts)


def ask_all(endpoint, secret, at_once=4):
    """Ask of capitals, which the dear expert knows better; return the replies."""

    async def go():
        transport = httpx.ASGITransport(app=create_api(endpoint))
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as web:
            replies = []
            for start in range(0, REQUESTS, at_once):
                bodies = [
                    {"max_tokens": 50, "messages": [{"role": "user", "content": text}]}
                    for text in (
                        f"What is the capital of {CITIES[i % 10]}, asked for the {i}th time?"
                        for i in range(start, start + at_once)
                    )
                ]
                replies += await asyncio.gather(*(web.post("/v1/chat/completions", json=b) for b in bodies))
            return replies

    return asyncio.run(go())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_paced_budget_reaches_to_the_end_and_no_further(endpoint, tmp_path, share):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    budget_usd = REQUESTS * (CHEAP_USD + share * (DEAR_USD - CHEAP_USD))
    limits = {"budget_usd": budget_usd, "preset": "quality"}
    _, paced = ledger.create_key("paced", paced_over=REQUESTS, **limits)
    replies = ask_all(endpoint, paced)
    (key,) = ledger.list_keys()
    answered = [reply for reply in replies if reply.status_code == 200]
    # What a request may cost at most is set aside, so the last cents can be too few for the last of them.
    assert len(answered) >= 0.98 * REQUESTS
    assert 0.95 * budget_usd <= key.spent_usd <= budget_usd
    assert (key.requests, key.reserved_usd) == (len(answered), 0)
    first, last = answered[: REQUESTS // 2], answered[REQUESTS // 2 :]
    dear = [sum(reply.json()["model"] == "gemma-3-270m" for reply in half) for half in (first, last)]
    assert abs(dear[0] - dear[1]) < 0.2 * REQUESTS  # spread, not spent at first
    assert "paced at $" in answered[-1].json()["leeroo"]["reason"]


def test_a_budget_that_is_not_paced_ends_early(endpoint, tmp_path):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    _, plain = ledger.create_key("plain", budget_usd=REQUESTS * 1.2 * CHEAP_USD, preset="quality")
    replies = ask_all(endpoint, plain)
    assert sum(reply.status_code == 429 for reply in replies) > 0.1 * REQUESTS
    (key,) = ledger.list_keys()
    assert key.spent_usd <= REQUESTS * 1.2 * CHEAP_USD


def test_pacing_never_makes_a_request_dearer_than_its_own_price(router_dir, tmp_path):
    router = Router(ServeConfig(home=tmp_path, router_dir=router_dir))
    frugal = [Query("What is the capital of Peru?", multiplier=1e9, allowance_usd=1.0)] * 3
    assert {r.decision.expert for r in asyncio.run(router.decide(frugal))} == {"smollm2-135m"}
    ample = [Query("What is the capital of Peru?", preset="quality", allowance_usd=1.0)]
    assert asyncio.run(router.decide(ample))[0].decision.expert == "gemma-3-270m"
    (unknown,) = asyncio.run(router.decide([Query("x", preset="none", allowance_usd=1.0)]))
    assert isinstance(unknown, InputError)


def test_what_is_beyond_the_number_foreseen_thins_out(tmp_path):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    key_id, _ = ledger.create_key("ann", budget_usd=1.0, paced_over=100)
    allowances = []
    for n in range(130):
        grant = ledger.reserve(key_id, f"r{n}", [0.001], lifetime_s=60)
        allowances.append(grant.allowance_usd)
        ledger.settle(f"r{n}", 0.001)
    assert allowances[0] == pytest.approx(0.999 / 100)
    assert ledger.reserve(key_id, "r5", [0.001], lifetime_s=60).allowance_usd is not None  # not counted again
    assert ledger.list_keys()[0].requests == 130
    assert allowances[-1] == pytest.approx((1 - 0.130) / 2)
    assert ledger.allowance_usd(key_id) == pytest.approx((1 - 0.13) / 2)


@pytest.mark.parametrize("limits", [{}, {"budget_usd": 1.0, "paced_over": 0}])
def test_what_cannot_be_paced_is_refused(tmp_path, limits):
    with pytest.raises(InputError, match=r"spread over|paced_over cannot be 0"):
        Ledger(tmp_path / LEDGER_FILE).create_key("ann", **({"paced_over": 5} | limits))


def test_a_ledger_of_before_is_read(tmp_path):
    path = tmp_path / LEDGER_FILE
    with sqlite3.connect(path) as db:
        db.executescript(
            "create table keys (key_id text primary key, name text not null,"
            " secret_hash text not null unique, budget integer, period text not null,"
            " requests_per_minute integer, experts text, preset text, created_at real not null,"
            " revoked_at real);"
            "create table spending (key_id text not null, period_start text not null,"
            " spent integer not null default 0, reserved integer not null default 0,"
            " primary key (key_id, period_start)) without rowid;"
            "insert into keys values ('k', 'ann', 'h', 1000000000000, 'total', null, null, null, 0, null);"
            "insert into spending values ('k', 'ever', 250000000000, 0);"
        )
    ledger = Ledger(path)
    (key,) = ledger.list_keys()
    assert (key.name, key.spent_usd, key.requests, key.paced_over) == ("ann", 0.25, 0, None)
    assert ledger.reserve("k", "r", [0.5], lifetime_s=60).allowance_usd is None
    ledger.create_key("bob", budget_usd=1.0, paced_over=10)
    assert Ledger(path).list_keys()[1].paced_over == 10


def test_a_paced_key_is_made_and_shown(tmp_path):
    run = CliRunner().invoke
    made = run(
        app, ["keys", "create", "ann", "--budget-usd", "2", "--paced-over", "500", "--home", str(tmp_path)]
    )
    assert made.exit_code == 0, made.output
    assert Ledger(tmp_path / LEDGER_FILE).list_keys()[0].paced_over == 500
    shown = run(app, ["keys", "list", "--home", str(tmp_path)], env={"COLUMNS": "200"}).output
    assert "paced over" in shown
    assert "500" in shown
