import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest

from serve.config import ServeConfig
from serve.ledger.key_limits import RateLimiter
from serve.ledger.ledger import Ledger
from serve.ledger.messages import Caller, Grant, Refusal, TrafficRecord, hash_secret
from serve.ledger.traffic.carrying import carry_traffic
from warehouse import InputError, Warehouse

LIFETIME = {"lifetime_s": 60.0}
pytestmark = pytest.mark.usefixtures("either_store")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.db")


def spent(ledger, key_id):
    return next(k for k in ledger.list_keys() if k.key_id == key_id)


def test_a_secret_is_kept_as_a_digest_only(ledger, tmp_path, either_store):
    key_id, secret = ledger.create_key("ann", experts=["a"], preset="economy", requests_per_minute=5)
    assert ledger.identify(hash_secret(secret)) == Caller(key_id, ("a",), "economy", 5)
    assert ledger.identify(hash_secret("lk-guess")) is None
    ledger.close()
    kept = tmp_path if either_store is None else either_store.folder / "data"
    content = b"".join(path.read_bytes() for path in kept.rglob("*") if path.is_file())
    assert key_id.encode() in content
    assert secret.encode() not in content
    assert either_store or (tmp_path / "ledger.db").stat().st_mode & 0o077 == 0


def test_a_revoked_key_is_refused_even_in_the_middle(ledger):
    key_id, secret = ledger.create_key("ann")
    assert isinstance(ledger.reserve(key_id, "r1", [1.0], **LIFETIME), Grant)
    ledger.revoke_key("ann")
    assert ledger.identify(hash_secret(secret)) == "revoked"
    assert ledger.reserve(key_id, "r2", [1.0], **LIFETIME).code == "invalid_api_key"
    ledger.settle("r1", 0.5)
    assert spent(ledger, key_id).spent_usd == 0.5
    with pytest.raises(InputError, match="no active key"):
        ledger.revoke_key("ann")


def test_reserve_and_settle_are_exact_and_may_be_repeated(ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0, period="total")
    for _ in range(2):
        assert ledger.reserve(key_id, "r1", [0.7], **LIFETIME) == Grant(0.7, pytest.approx(0.3))
    assert isinstance(ledger.reserve(key_id, "r2", [0.4], **LIFETIME), Refusal)
    for _ in range(2):
        ledger.settle("r1", 0.1)
    ledger.settle("r1", 0.6)
    key = spent(ledger, key_id)
    assert (key.spent_usd, key.reserved_usd) == (0.1, 0.0)
    assert isinstance(ledger.reserve(key_id, "r2", [0.9], **LIFETIME), Grant)


def test_the_dearest_expert_that_the_budget_affords_is_reserved(ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0)
    assert ledger.reserve(key_id, "r1", [5.0, 0.2, 0.6], **LIFETIME).reserved_usd == 0.6


def test_a_bound_beyond_reason_spoils_nothing(ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0)
    assert ledger.reserve(key_id, "r1", [-1e30], **LIFETIME) == Grant(0.0, 1.0)
    assert isinstance(ledger.reserve(key_id, "r2", [1e30], **LIFETIME), Refusal)


def test_a_reservation_whose_process_died_runs_out_and_a_late_answer_is_still_charged(ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0, period="total")
    ledger.reserve(key_id, "r1", [1.0], lifetime_s=10, now=1000)
    assert isinstance(ledger.reserve(key_id, "r2", [1.0], lifetime_s=10, now=1009), Refusal)
    assert isinstance(ledger.reserve(key_id, "r3", [0.5], lifetime_s=10, now=1011), Grant)
    ledger.settle("r1", 0.25)
    key = spent(ledger, key_id)
    assert (key.spent_usd, key.reserved_usd) == (0.25, 0.5)


def test_a_new_period_has_a_new_budget(ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0, period="day")
    day = 86_400.0
    assert isinstance(ledger.reserve(key_id, "r1", [1.0], lifetime_s=9 * day, now=10 * day), Grant)
    assert isinstance(ledger.reserve(key_id, "r2", [1.0], lifetime_s=9 * day, now=10 * day), Refusal)
    assert isinstance(ledger.reserve(key_id, "r3", [1.0], lifetime_s=9 * day, now=11 * day), Grant)


def test_no_key_goes_over_its_budget_under_concurrency(tmp_path):
    path = tmp_path / "ledger.db"
    key_id, _ = Ledger(path).create_key("ann", budget_usd=1.0, period="total")
    settled = []

    def work(worker: int) -> None:
        ledger, rng = Ledger(path), random.Random(worker)
        for call in range(40):
            request_id = f"{worker}-{call}"
            if isinstance(ledger.reserve(key_id, request_id, [0.05], **LIFETIME), Grant):
                cost = rng.randrange(1, 50_000) / 1e6
                ledger.settle(request_id, cost)
                settled.append(round(cost * 1e12))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    key = spent(Ledger(path), key_id)
    assert 0.9 < key.spent_usd <= 1.0
    assert round(key.spent_usd * 1e12) == sum(settled)
    assert key.reserved_usd == 0


def test_calls_are_forgotten_and_what_they_cost_is_not(ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0, period="total")
    long_ago = time.time() - 1_000
    for name in ("settled", "still open"):
        ledger.reserve(key_id, name, [0.25], lifetime_s=10, now=long_ago)
    ledger.settle("settled", 0.25)
    ledger.reserve(key_id, "new", [0.25], **LIFETIME)  # the open one has run out now
    ledger.settle("new", 0.125)

    def kept():
        return {row["request_id"] for row in ledger._db.all("select request_id from calls")}

    ledger.forget_calls(2_000)
    assert kept() == {"settled", "still open", "new"}
    ledger.forget_calls(500)
    assert kept() == {"new"}
    key = spent(ledger, key_id)
    assert (key.spent_usd, key.reserved_usd) == (0.375, 0.0)
    assert ledger.reserve(key_id, "next", [0.5], **LIFETIME).remaining_usd == 0.125


@pytest.mark.parametrize(
    "limit",
    [
        *({"budget_usd": budget} for budget in (float("nan"), float("inf"), 1e7, -1.0)),
        {"requests_per_minute": 0},
    ],
)
def test_a_limit_that_is_none_is_refused(ledger, limit):
    (name,) = limit
    with pytest.raises(InputError, match=f"{name} cannot be .*give .* to 1,000,000"):
        ledger.create_key("ann", **limit)
    assert ledger.list_keys() == []


CRASHING = """
import sys
from pathlib import Path
from serve.ledger.ledger import Ledger
from serve.ledger.store.place import ledger_place
ledger = Ledger(ledger_place(Path(sys.argv[1])))
n = 0
while True:
    ledger.reserve(sys.argv[2], f"r{n}", [0.001], lifetime_s=1000)
    ledger.settle(f"r{n}", 0.001)
    print(n, flush=True)
    n += 1
"""


def test_a_killed_process_loses_nothing_and_charges_nothing_twice(tmp_path, either_store):
    path = tmp_path / "ledger.db"
    key_id, _ = Ledger(path).create_key("ann", period="total")
    worker = subprocess.Popen(
        [sys.executable, "-c", CRASHING, str(tmp_path), key_id],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | ({"LEEROO_LEDGER": either_store.url(path)} if either_store else {}),
    )
    told = 0
    for line in worker.stdout:
        told = int(line) + 1
        if told >= 50:
            break
    os.kill(worker.pid, signal.SIGKILL)
    told += len(worker.stdout.readlines())
    worker.wait()
    after = Ledger(path)
    for n in range(told):
        after.settle(f"r{n}", 0.001)
    calls = [row["cost"] for row in after._db.all("select cost from calls where state = 'settled'")]
    key = spent(after, key_id)
    assert len(calls) in {told, told + 1}  # one may be settled and not yet told
    assert round(key.spent_usd * 1e12) == sum(calls) == len(calls) * 10**9


def test_a_rate_lets_a_minute_through_and_then_tells_when_to_come_back():
    limiter = RateLimiter()
    assert [limiter.wait_s("a", 3, 0.0) for _ in range(3)] == [0, 0, 0]
    assert limiter.wait_s("a", 3, 0.0) == pytest.approx(20)
    assert limiter.wait_s("b", 3, 0.0) == 0
    assert limiter.wait_s("a", 3, 20.0) == 0
    assert limiter.wait_s("a", 3, 20.0) == pytest.approx(20)


def test_the_traffic_reaches_the_warehouse_once(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    config = ServeConfig(home=tmp_path)
    rows = [record_of(f"r{n}") for n in range(3)]
    assert ledger.traffic.keep(rows) == 0
    assert ledger.traffic.find("r1")["expert"] == "a"
    assert ledger.traffic.find("r9") is None
    assert carry_traffic(config) == 3
    ledger.traffic.keep(rows)  # as after a crash
    assert carry_traffic(config) == 0
    assert ledger.traffic.find("r1") is None
    kept = Warehouse(str(tmp_path / "warehouse")).scan("traffic").sort_by("request_id").to_pylist()
    assert [row["request_id"] for row in kept] == ["r0", "r1", "r2"]
    assert kept[0]["embedding"] == [0.5, -1.0]
    assert kept[0]["surface"] is None


def record_of(request_id, **fields):
    row = {"request_id": request_id, "expert": "a", "role": "champion", "round": "serve-1"}
    row |= {"recording": "features", "created_at": 1_893_456_000_000_000}
    return TrafficRecord(request_id, orjson.dumps(row | fields), np.float32([0.5, -1]).tobytes())


def test_days_that_are_over_become_one_file(tmp_path):
    ledger, config = Ledger(tmp_path / "ledger.db"), ServeConfig(home=tmp_path)
    today = f"serve-{datetime.now(UTC):%Y-%m-%d}"
    for number in range(4):
        ledger.traffic.keep(
            [record_of(f"a{number}", round="serve-2030-01-01"), record_of(f"b{number}", round=today)]
        )
        assert carry_traffic(config) == 2
    store = Warehouse(str(tmp_path / "warehouse"))
    assert Counter(entry.round for entry in store.files("traffic")) == {"serve-2030-01-01": 1, today: 4}
    assert store.scan("traffic").num_rows == 8


def test_a_row_that_does_not_fit_keeps_no_other_back(tmp_path, caplog):
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.traffic.keep([record_of("r1"), record_of("r2", prompt_tokens=2**40), record_of("r3", expert=None)])
    assert carry_traffic(ServeConfig(home=tmp_path)) == 1
    assert ledger.traffic.take(10) == []
    assert "does not fit" in caplog.text


def test_decisions_of_an_earlier_version_are_brought_along(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    decision = {
        "request_id": "r1",
        "router_version": "1",
        "experts": ["a"],
        "expert": "a",
        "round": "serve-1",
    }
    ledger._db.write(
        "insert into decisions values ('r1', 'key-1', ?, 0.75, 1.0)", (orjson.dumps(decision).decode(),)
    )
    assert carry_traffic(ServeConfig(home=tmp_path)) == 1
    assert carry_traffic(ServeConfig(home=tmp_path)) == 0
    (row,) = Warehouse(str(tmp_path / "warehouse")).scan("decisions").to_pylist()
    assert (row["request_id"], row["key_id"], row["feedback_score"]) == ("r1", "key-1", 0.75)


def test_reserving_and_settling_takes_well_under_a_millisecond(ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1e6)
    took = []
    for n in range(200):
        start = time.perf_counter()
        ledger.reserve(key_id, f"r{n}", [0.1, 0.2], **LIFETIME)
        ledger.settle(f"r{n}", 0.1)
        took.append(time.perf_counter() - start)
    assert min(took) < 5e-3  # the best of many: others may run on this machine


@pytest.mark.parametrize("amount", [10**400, -(10**400), float("nan"), float("inf"), "1", None, [1], True])
def test_an_amount_that_no_money_can_be_ends_its_call_all_the_same(ledger, amount):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0)
    ledger.reserve(key_id, "r1", [0.5], likely_usd=[0.25], **LIFETIME)
    ledger.extend("r1", amount)
    settled = ledger.settle("r1", amount, disputed_usd=amount, key_id=key_id)
    assert 0 <= settled.charged_usd <= 0.5
    books = spent(ledger, key_id)
    assert (books.spent_usd, books.reserved_usd) == (settled.charged_usd, 0)
