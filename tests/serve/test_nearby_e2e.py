"""Ingresses that decide themselves: a new champion reaches them, and a dead router holds up none."""

import time
from dataclasses import replace

import httpx
import pytest
from test_stopping_e2e import Endpoint, Upstream, is_answered, wait_until

from orchestrator.versions.mlflow_registry import log_version, set_champion
from serve.ledger.ledger import LEDGER_FILE, Ledger

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(560)]

ROUTED = {"model": "leeroo", "messages": [{"role": "user", "content": "What is 3 + 21?"}], "max_tokens": 5}


def test_a_new_champion_is_followed_and_a_dead_router_holds_up_nobody(orchestrator, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    _, secret = Ledger(tmp_path / LEDGER_FILE).create_key("ann")
    endpoint = Endpoint(tmp_path, Upstream())
    given: list[str] = []

    def decided_by(times=12):
        versions = []
        for _ in range(times):  # a client each: a connection may stay with one ingress
            with httpx.Client(headers={"Authorization": f"Bearer {secret}"}, timeout=20) as web:
                reply = web.post(f"{endpoint.url}/v1/chat/completions", json=ROUTED)
                assert reply.status_code == 200, reply.text
                versions.append(reply.json()["leeroo"]["router_version"])
        given.extend(versions)
        return set(versions)

    def named_router():
        return endpoint.named("ServeReplica:leeroo:router")

    try:
        assert is_answered(endpoint, secret)
        assert decided_by() == {"1"}
        time.sleep(3)  # in which every ingress has looked at the router's line-up

        (router,) = named_router()
        router.suspend()  # it is there, and answers nobody
        began = time.monotonic()
        assert decided_by(5) == {"1"}
        print(f"\n5 answers within {time.monotonic() - began:.2f} s while the router does nothing")
        router.kill()
        assert decided_by(5) == {"1"}
        wait_until(lambda: [p for p in named_router() if p != router], 90, "no router came back")
        time.sleep(5)  # it looks for its champion

        set_champion(uri, log_version(replace(orchestrator, multiplier=3.0), tracking_uri=uri))
        took_s = wait_until(lambda: decided_by() == {"2"}, 30, "not every ingress took up the champion")
        print(f"a new champion is everywhere after {took_s:.1f} s")
        assert took_s < 10

        # Whichever ingress is asked, the bookkeeper has counted the answers of all.
        with httpx.Client(headers={"Authorization": f"Bearer {secret}"}, timeout=20) as web:
            look = lambda: web.get(f"{endpoint.url}/v1/overview").json()  # noqa: E731
            wait_until(lambda: look()["compared"] >= len(given), 20, "an answer is not counted")
            told = look()
        assert (told["sees_all"], told["router"], told["champion"]) == (False, "ok", "2")
        assert {one["version"] for one in told["versions"]} == {"1", "2"}
        assert sum(one["answers"] for one in told["experts"]) == told["answers"] >= told["compared"]
    finally:
        endpoint.kill()
