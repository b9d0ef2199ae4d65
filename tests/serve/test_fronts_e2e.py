"""Behind either front the endpoint behaves alike: clients, errors, the money of plans that are cut short."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from mlflow import MlflowClient
from steady_clients import SteadyClients
from test_stopping_e2e import Endpoint, wait_until

from experts import load_catalogue
from orchestrator import train_router
from orchestrator.asking.beliefs import AnswerModel
from orchestrator.asking.habits import Habits
from orchestrator.asking.lengths import AnswerLengths
from orchestrator.selection.presets import Preset
from orchestrator.versions.mlflow_registry import log_version, set_champion
from serve.front.haproxy import find_haproxy
from serve.ledger.audit import check_books
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.request.cost_bounds import asks_of
from serve.wire.protocol import ChatRequest
from warehouse import Outcomes

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

NAMES = ("alpha", "beta", "gamma", "delta")
LETTERS = "ABBB"
USD_PER_TOKEN = 1e-4
EXPERT = """
  - name: {name}
    backend: openai
    model: {name}
    base_url: http://127.0.0.1:{port}/v1
    api_key_env: LEEROO_TEST_API_KEY
    price: {{usd_per_mtok_in: 100, usd_per_mtok_out: 100}}
    max_tokens: 20
    timeout_s: 20
"""
OPTIONS = "Which is a city?\nA. Peru\nB. Lima\nC. Chile\nD. Bern\nAnswer with one letter:"


class ApiOfOne:
    """An expert's API, and what it has billed."""

    def __init__(self, name, letter, folder, host="127.0.0.1"):
        self.name, self._bill = name, folder / f"{name}.bill"
        program = Path(__file__).with_name("billing_expert.py")
        command = [sys.executable, str(program), letter, str(self._bill), host]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def calls(self, question):
        lines = self._bill.read_text().splitlines() if self._bill.exists() else []
        return [tokens for name, tokens in map(json.loads, lines) if name == question]


class Served:
    """An endpoint behind a front, with four experts that bill."""

    def __init__(self, front, home, apis):
        self.front, self.home, self.apis, self.replies = front, home, apis, []
        self.catalogue = "experts:" + "".join(EXPERT.format(name=a.name, port=a.port) for a in apis)
        self.endpoint = Endpoint(home, None, "--front", front, "--trace", catalogue=self.catalogue)
        self.url = self.endpoint.url

    def key(self, budget_usd=5.0):
        """Return the secret of a new key, and a function that tells what it has spent and reserved."""
        ledger = Ledger(self.home / LEDGER_FILE)
        name = f"k{len(ledger.list_keys())}"
        key_id, secret = ledger.create_key(name, budget_usd=budget_usd, period="total")

        def money():
            (key,) = [key for key in ledger.list_keys() if key.key_id == key_id]
            return key.spent_usd, key.reserved_usd

        return secret, money

    def ask(self, secret, question, *, wait_s=0.0, timeout_s=60, **fields):
        said = f"#{question}# ~{wait_s}~ {OPTIONS}"
        body = {"model": "leeroo:ensemble", "messages": [{"role": "user", "content": said}], "max_tokens": 8}
        trace_id = f"{len(self.replies) + 1:032x}"
        headers = {"authorization": f"Bearer {secret}", "traceparent": f"00-{trace_id}-{7:016x}-01"}
        url = f"{self.url}/v1/chat/completions"
        self.replies.append((f"tr-{trace_id}", None))
        reply = httpx.post(url, json=body | fields, headers=headers, timeout=timeout_s)
        self.replies = [(one, reply if one == f"tr-{trace_id}" else its) for one, its in self.replies]
        return reply

    def billed(self, question):
        """Return how often each expert was asked, and what all of it comes to in USD."""
        calls = {api.name: api.calls(question) for api in self.apis}
        counts = {name: len(tokens) for name, tokens in calls.items() if tokens}
        return counts, USD_PER_TOKEN * sum(sum(tokens) for tokens in calls.values())

    def bound_usd(self):
        """Return the most that one expert's answer to a question of :meth:`ask` may cost."""
        path = self.home / "experts.yaml"
        said = f"#00000000# ~0.0~ {OPTIONS}"
        request = ChatRequest(model="leeroo", messages=[{"role": "user", "content": said}], max_tokens=8)
        specs = [load_catalogue(path).get(NAMES[0])]
        return asks_of(specs, request.for_expert())[NAMES[0]].most_usd


def coin_flips(n=80):
    rng = np.random.default_rng(0)
    texts = tuple(f"{i}. {OPTIONS}" for i in range(n))
    tokens = np.full((n, 4), 20, np.float32)
    return Outcomes(
        question_ids=np.array([f"q{i}" for i in range(n)]),
        texts=texts,
        prompts=texts,
        sources=np.full(n, "made"),
        domains=np.full(n, "cities"),
        subjects=np.full(n, ""),
        chance=np.full(n, 0.25, np.float32),
        experts=NAMES,
        score=(rng.random((n, 4)) < 0.5).astype(np.float32),
        cost_usd=np.full((n, 4), 1e-4) * rng.uniform(0.9, 1.1, (n, 1)),
        prompt_tokens=tokens,
        completion_tokens=tokens,
        latency_s=tokens,
    )


@pytest.fixture(scope="module")
def unsure():
    """A router that knows nothing of who is right, and much of how answers hang together."""
    router = train_router(coin_flips(), embedder="wordllama", predictor="subject").orchestrator
    model = AnswerModel(np.full(4, 1.3), np.full(4, 0.4), 0.03)
    habits = Habits(
        router.experts, np.ones(4, bool), np.full(4, 0.02), model, np.ones(3), AnswerLengths.silent(4)
    )
    return replace(router, habits=habits, multiplier=0.0, presets={"quality": Preset(0.0)})


@pytest.fixture(scope="module", params=["haproxy", "python"])
def served(request, unsure, tmp_path_factory):
    if request.param == "haproxy" and isinstance(why := find_haproxy(), str):
        pytest.skip(f"no HAProxy runs here: {why}")
    home = tmp_path_factory.mktemp(f"home-{request.param}")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    set_champion(uri, log_version(unsure, tracking_uri=uri))
    apis = [ApiOfOne(name, letter, home) for name, letter in zip(NAMES, LETTERS, strict=True)]
    running = None
    try:
        running = Served(request.param, home, apis)
        yield running
    finally:
        if running is not None:
            running.endpoint.kill()
        for api in apis:
            api.process.kill()
            api.process.wait()


def test_a_key_of_some_networks_is_let_in_by_its_address_whatever_headers_say(served):
    ledger = Ledger(served.home / LEDGER_FILE)
    _, mine = ledger.create_key("mine", networks=["127.0.0.0/8"])
    _, others = ledger.create_key("others", networks=["10.0.0.0/8"])

    def status(secret, **headers):
        told = {"authorization": f"Bearer {secret}"} | headers
        return httpx.get(f"{served.url}/v1/models", headers=told, timeout=60).status_code

    forged = {"x-forwarded-for": "10.0.0.1", "forwarded": "for=10.0.0.1", "x-real-ip": "10.0.0.1"}
    assert status(mine) == 200
    assert status(others) == 403
    assert status(others, **forged, **{"x-leeroo-peer": "guess 10.0.0.1"}) == 403
    ledger.revoke_key("mine")
    ledger.revoke_key("others")


def settled(money):
    wait_until(lambda: money()[1] == 0, 40, "something stays reserved")
    return money()[0]


def test_no_request_fails_while_experts_drain_and_the_catalogue_changes_under_load(served):
    """Over HTTP, whole and streamed; a closed endpoint alone refuses; the books are exact."""
    secret, money = served.key(50.0)
    _, operator = Ledger(served.home / LEDGER_FILE).create_key("operator", operator=True)
    catalogue, pool = served.home / "experts.yaml", served.home / "pool.yaml"
    dearer = served.catalogue.replace("usd_per_mtok_in: 100", "usd_per_mtok_in: 300")
    dearer = dearer.replace("usd_per_mtok_out: 100", "usd_per_mtok_out: 300")
    added = served.catalogue + EXPERT.format(name="epsilon", port=served.apis[0].port)
    headers = {"authorization": f"Bearer {operator}"}

    def order(**order):
        reply = httpx.post(f"{served.url}/v1/operate", json=order, headers=headers, timeout=60)
        assert reply.status_code == 200, reply.text
        return reply.json()["experts"]

    def change(text, experts=NAMES):
        catalogue.write_text(text)
        pool.write_text(json.dumps({"experts": list(experts)}))
        return order(action="reload")

    with SteadyClients(served.url, secret, "Say it. #steady# ~0.05~") as clients:
        try:
            usual = clients.more()
            (best,) = {told.expert for told in usual}
            assert order(action="drain", expert=best)[best] == "drained"
            instead = {told.expert for told in clients.more()}
            assert order(action="resume", expert=best)[best] == "ok"
            resumed = clients.more()
            change(dearer)
            dear = clients.more()
            assert "epsilon" in change(added, (*NAMES, "epsilon"))
            body = {"model": "epsilon", "messages": [{"role": "user", "content": "#new#"}], "max_tokens": 8}
            new = httpx.post(
                f"{served.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {secret}"}
            )
            named = clients.more()
            left = [name for name in NAMES if name != best]
            assert list(change(served.catalogue, left)) == left
            removed = {told.expert for told in clients.more()}
            change(served.catalogue)
            back = clients.more()
            order(action="close", retry_after_s=7)
            closed = clients.more()
            order(action="open")
            opened = clients.more()
        finally:
            change(served.catalogue)
            order(action="open")
    assert not clients.broken, clients.broken
    refused = [told for told in clients.told if told.status != 200]
    assert {(told.status, told.retry_after) for told in refused} == {(503, "7")}
    assert all("maintenance" in told.why for told in refused)
    assert set(closed) <= set(refused)
    first, last = clients.told.index(refused[0]), len(clients.told) - clients.told[::-1].index(refused[-1])
    assert last - first <= len(refused) + 6  # answers under way when it closed came to their end
    phases = {
        "usual": usual,
        "resumed": resumed,
        "dear": dear,
        "named": named,
        "back": back,
        "opened": opened,
    }
    assert {name: {told.expert for told in phase} for name, phase in phases.items()} == {
        name: {best} for name in phases
    }
    assert best not in instead | removed
    usual_usd = usual[0].cost_usd
    assert {told.cost_usd for told in (*usual, *back, *opened)} == {usual_usd}
    assert all(told.cost_usd == pytest.approx(3 * usual_usd) for told in dear)
    assert new.status_code == 200, new.text
    spent_usd = sum(told.cost_usd for told in clients.told) + new.json()["leeroo"]["cost_usd"]
    assert settled(money) == pytest.approx(spent_usd, abs=1e-10)
    assert check_books(served.home / LEDGER_FILE).faults == ()


def test_the_official_client_is_answered_and_told_what_is_wrong(served):
    secret, money = served.key()
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=secret, max_retries=0) as client:
        cards = {card.id: card for card in client.models.list()}
        assert list(cards) == ["leeroo", "leeroo:quality", "leeroo:ensemble", *NAMES]
        assert cards["leeroo:quality"].leeroo["multiplier"] == 0
        messages = [{"role": "user", "content": f"#official# {OPTIONS}"}]
        answer = client.chat.completions.create(model="leeroo:ensemble", messages=messages, max_tokens=8)
        pieces = client.chat.completions.create(model="beta", messages=messages, max_tokens=8, stream=True)
        assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == "B"
        assert answer.choices[0].message.content in ("A", "B")
        assert len(answer.leeroo["asked"]) >= 2
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="gpt-9", messages=messages)
        with pytest.raises(openai.BadRequestError, match="there are quality"):
            client.chat.completions.create(model="leeroo:economy", messages=messages)
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="sk-none").models.list()
    spent = settled(money)
    counts, billed_usd = served.billed("official")
    assert sum(counts.values()) == len(answer.leeroo["asked"]) + 1
    assert spent == pytest.approx(billed_usd)


def test_refusals_have_openais_shape(served):
    secret, _ = served.key()
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    path = f"{served.url}/v1/chat/completions"
    told = {
        400: httpx.post(path, content=b"{", headers=headers),
        401: httpx.post(path, content=b"{}"),
        404: httpx.get(f"{served.url}/v1/none", headers=headers),
        405: httpx.delete(path, headers=headers),
        413: httpx.post(path, content=b"x" * 1_100_000, headers=headers),
        429: served.ask(served.key(1e-9)[0], "poor"),
    }
    for status, reply in told.items():
        assert reply.status_code == status, reply.text
        assert reply.headers["content-type"] == "application/json"
        error = reply.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
    assert served.billed("poor")[0] == {}


@pytest.mark.parametrize("sent", [b"GARBAGE\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
def test_what_is_no_http_is_refused_and_the_connection_closed(served, sent):
    """HAProxy has words of its own for it, in HTML, before anything that could be configured; see 0145."""
    with socket.create_connection(("127.0.0.1", served.endpoint.port), timeout=10) as connection:
        connection.sendall(sent)
        reply = b""
        while got := connection.recv(4000):
            reply += got
    assert not reply or reply.startswith(b"HTTP/1.1 400")
    assert b"Traceback" not in reply


def test_an_expert_whose_process_is_killed_between_two_asks_costs_no_answer(served):
    secret, money = served.key()
    first, second, *_ = [one["expert"] for one in served.ask(secret, "before").json()["leeroo"]["asked"]]
    before = settled(money)
    assert before == pytest.approx(served.billed("before")[1])
    by_name = {api.name: api for api in served.apis}
    kept = {}
    work = threading.Thread(target=lambda: kept.update(reply=served.ask(secret, "killed", wait_s=1.0)))
    work.start()
    wait_until(lambda: by_name[first].calls("killed"), 20, "the first was not asked")
    by_name[second].process.kill()
    by_name[second].process.wait()
    work.join()
    reply = kept["reply"]
    assert reply.status_code == 200, reply.text
    told = reply.json()["leeroo"]
    assert [one["expert"] for one in told["tried"]] == [second]
    assert second not in {one["expert"] for one in told["asked"]}
    counts, billed_usd = served.billed("killed")
    assert set(counts.values()) == {1}
    assert second not in counts
    assert settled(money) - before == pytest.approx(billed_usd)  # nothing was sent to it, nothing is charged


def test_a_cap_that_is_hit_between_two_asks_ends_the_plan_with_the_answer_at_hand(served):
    budget_usd = served.bound_usd() + USD_PER_TOKEN  # less than what the first costs and the second may
    secret, money = served.key(budget_usd)
    reply = served.ask(secret, "capped00")
    assert reply.status_code == 200, reply.text
    counts, billed_usd = served.billed("capped00")
    assert sum(counts.values()) == 1
    assert settled(money) == pytest.approx(billed_usd)
    assert money()[0] <= budget_usd


def test_a_client_that_leaves_between_two_asks_pays_for_what_was_asked_alone(served):
    secret, money = served.key()
    with pytest.raises(httpx.ReadTimeout):
        served.ask(secret, "left", wait_s=4.0, timeout_s=1.5)
    spent = settled(money)
    time.sleep(3.5)  # the first would be answered by now, and the second asked
    counts, billed_usd = served.billed("left")
    assert sum(counts.values()) == 1
    assert billed_usd <= spent <= served.bound_usd()
    assert money() == (spent, 0)


def test_an_ingress_that_is_killed_between_two_asks_leaves_books_that_cover_the_bill(served):
    secret, money = served.key()
    kept = {}
    work = threading.Thread(target=lambda: kept.update(reply=served.ask(secret, "orphan", wait_s=1.5)))
    work.start()
    wait_until(lambda: served.billed("orphan")[0], 20, "nobody was asked")
    (ingress,) = served.endpoint.named("ServeReplica:leeroo:ingress")
    ingress.kill()
    work.join()
    assert kept["reply"].status_code == 503
    assert kept["reply"].json()["error"]["code"]
    spent = settled(money)
    counts, billed_usd = served.billed("orphan")
    assert sum(counts.values()) == 1
    assert billed_usd <= spent <= served.bound_usd()


def test_a_stop_lets_a_plan_finish_and_leaves_the_books_in_order(served):
    secret, money = served.key()
    wait_until(lambda: served.ask(secret, "again").status_code == 200, 60, "no ingress came back")
    kept = {}
    work = threading.Thread(target=lambda: kept.update(reply=served.ask(secret, "last", wait_s=0.5)))
    work.start()
    wait_until(lambda: served.billed("last")[0], 20, "nobody was asked")
    os.killpg(served.endpoint.process.pid, signal.SIGINT)
    assert served.endpoint.process.wait(90) == 0, served.endpoint.log.read_text()
    work.join()
    assert kept["reply"].status_code == 200, kept["reply"].text
    counts, _ = served.billed("last")
    assert set(counts.values()) == {1}
    assert len(kept["reply"].json()["leeroo"]["asked"]) == len(counts) >= 2
    assert check_books(served.home / LEDGER_FILE).faults == ()
    assert money()[1] == 0


def test_every_request_left_a_trace_also_the_last_before_the_stop(served):
    uri = f"sqlite:///{served.home / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("leeroo").experiment_id
    found = {one.info.trace_id: one for one in client.search_traces(locations=[experiment], max_results=100)}
    errors = [one.data.spans[0].attributes.get("error.type") for one in found.values()]
    assert {"insufficient_quota", "client_left", "model_not_found", "unknown_preset"} <= set(errors)
    by_caller = {f"tr-{one.info.tags.get('leeroo.caller_trace')}": one for one in found.values()}
    answered = [(name, reply) for name, reply in served.replies if reply and reply.status_code == 200]
    assert len(answered) >= 5
    for name, reply in answered:
        told, trace = reply.json()["leeroo"], by_caller[name]
        root, *spans = trace.data.spans
        assert root.attributes["leeroo.request_id"] == told["request_id"]
        assert root.attributes["leeroo.probability"] == pytest.approx(told["probability"], abs=1e-4)
        assert trace.info.cost["total_cost"] == pytest.approx(told["cost_usd"])
        calls = [span for span in spans if span.span_type == "CHAT_MODEL"]
        asked = [one["expert"] for one in (*told["asked"], *told["tried"])]
        assert sorted(span.attributes["leeroo.expert"] for span in calls) == sorted(asked)
        assert {"decide", "reserve", "settle"} <= {span.name for span in spans}
        assert OPTIONS not in trace.to_json()
