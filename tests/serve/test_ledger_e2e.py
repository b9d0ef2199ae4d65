"""An endpoint whose ledger is on PostgreSQL: bookkeeper and server are killed, and its home goes."""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from test_stopping_e2e import BODY, LOADS, Clients, Endpoint, Upstream, is_answered, wait_until

from orchestrator.versions.mlflow_registry import log_version, set_champion
from serve.ledger.audit import check_books
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.store.place import postgres_place

pytestmark = [pytest.mark.e2e, pytest.mark.kills, pytest.mark.timeout(300)]

PASSWORD = "hush-hush-hush"


def test_no_money_and_no_key_is_lost_with_bookkeeper_server_or_home(orchestrator, tmp_path, postgres):
    url = postgres.url(tmp_path).replace("leeroo@", f"leeroo:{PASSWORD}@")
    home = tmp_path / "home"
    home.mkdir()
    uri = f"sqlite:///{home / 'mlflow.db'}"
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    place = postgres_place(url, "the test")
    ledger = Ledger(place)
    key_id, secret = ledger.create_key("ann", budget_usd=100.0, period="total")
    endpoint = Endpoint(home, Upstream(), environment={"LEEROO_LEDGER": url})

    def answered():
        return sum(status == 200 for status, _ in clients.replies)

    def go_on(told):
        before = answered()
        return wait_until(lambda: answered() > before + 10, 60, told)

    try:
        assert is_answered(endpoint, secret)
        with Clients(endpoint.url, secret, [BODY, LOADS["streamed"]] * 2) as clients:
            go_on("nobody is answered")
            (bookkeeper,) = endpoint.named("ServeReplica:leeroo:bookkeeper")
            bookkeeper.kill()
            first_s = go_on("no bookkeeper came back")
            postgres.kill()
            postgres.start()
            second_s = go_on("the bookkeeper does not find its database again")
        print(f"\nanswers {first_s:.1f} s after the bookkeeper, {second_s:.1f} s after the server was killed")
        assert clients.is_answered_or_refused(stopped_at=0) or clients.broken == []
        wait_until(lambda: ledger.find_key(key_id).reserved_usd == 0, 30, "something stays reserved")
        whole = [json.loads(text) for status, text in clients.replies if status == 200 and text[:1] == "{"]
        told_usd = [reply["leeroo"]["cost_usd"] for reply in whole]
        key = ledger.find_key(key_id)
        assert key.requests >= answered() + 1
        assert key.spent_usd >= sum(told_usd) > 0
        assert check_books(place).faults == ()
        words = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
        assert not [line for line in words if PASSWORD in line]
        assert PASSWORD not in endpoint.log.read_text()
        ours = " ".join(" ".join(p.cmdline()) for p in endpoint.root.children(recursive=True))
        sessions = set(re.findall(r"(/[^\s=,\"]*/session_\d[\w-]*)", ours))
        logs = [path for session in sessions for path in Path(session).glob("logs/**/*") if path.is_file()]
        assert logs
        assert not [path for path in logs if PASSWORD.encode() in path.read_bytes()]
        kept_files = [path for path in home.rglob("*") if path.is_file()]  # MLflow's tables too
        assert not [path for path in kept_files if PASSWORD.encode() in path.read_bytes()]
        endpoint.process.send_signal(signal.SIGTERM)
        assert endpoint.process.wait(60) == 0
        assert not (home / LEDGER_FILE).exists()
    finally:
        endpoint.kill()
    kept = ledger.list_keys()
    shutil.rmtree(home)
    assert Ledger(place).list_keys() == kept
    assert os.environ.get("LEEROO_LEDGER") is None
