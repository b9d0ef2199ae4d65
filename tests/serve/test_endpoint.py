"""The real thing: Ray Serve, a vLLM engine, the registry's champion, and the official client."""

import json
import re
import sqlite3
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from experts.catalogue_file import DEFAULT_CATALOGUE
from orchestrator.versions.mlflow_registry import log_version, rollback, set_champion
from serve.app import build
from serve.config import ServeConfig
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.traffic.carrying import carry_traffic
from serve.router.deciding import is_canary
from tests.ports import free_port
from warehouse import InputError, Warehouse

sys.path.insert(0, str(Path(__file__).parent))

from browser import BROWSER, Page

pytestmark = pytest.mark.e2e

OF_TRAFFIC = """
select cost from calls join keys using (key_id) where name = 'traffic' and state <> 'open' and cost > 0
"""

CANARY_SHARE = 0.3  # ASKED is not among these
EXPERTS_REPLICA = "ServeReplica:leeroo:expert:smollm2-135m"
ASKED = [{"role": "user", "content": "What is the capital of Peru?"}]


@pytest.fixture(scope="module")
def home(orchestrator, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    return home


@pytest.fixture(scope="module")
def url(home, ray_cluster):
    from serve.run import start_serving, stop_serving

    # The default catalogue, in which no expert claims to call tools; this one is made to.
    entry = "  - name: smollm2-135m\n"
    named = DEFAULT_CATALOGUE.read_text().replace(entry, f"{entry}    tool_parser: hermes\n")
    (home / "experts.yaml").write_text(named)
    config = ServeConfig(
        home=home,
        access="keys",
        catalogue=home / "experts.yaml",
        experts=("smollm2-135m",),
        port=free_port(),
        poll_champion_s=1,
        shadow=True,
        canary_share=CANARY_SHARE,
    )
    yield start_serving(config)
    stop_serving()


@pytest.fixture(scope="module")
def secret(home):
    return Ledger(home / LEDGER_FILE).create_key("ann", budget_usd=1.0, period="total")[1]


@pytest.fixture
def client(url, secret):
    return openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0, timeout=300)


def test_replicas_are_told_the_store_and_never_look_for_it(home, monkeypatch):
    """A replica's environment is the cluster's, which may name another store or none."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    app = build({"home": home, "experts": ("smollm2-135m",)})
    config = app._bound_deployment.init_args[0]
    assert config.tracking_uri == f"sqlite:///{home / 'mlflow.db'}"
    assert config.warehouse_url == str(home / "warehouse")
    monkeypatch.setenv("LEEROO_WAREHOUSE", "s3://bucket/tables")
    config = build({"home": home, "experts": ("smollm2-135m",)})._bound_deployment.init_args[0]
    assert config.warehouse_url == "s3://bucket/tables"


def test_it_is_ready_once_its_expert_runs(url):
    assert httpx.get(f"{url}/readyz").json() == {"ready": True, "experts": {"smollm2-135m": "ok"}}


def test_without_a_key_nobody_answers(url):
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{url}/v1", api_key="none").models.list()


def test_a_question_is_answered_by_a_real_model(client):
    answer = client.chat.completions.create(model="leeroo", messages=ASKED)
    assert answer.model == "smollm2-135m"
    assert "Lima" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0
    assert answer.leeroo["router_version"] == "1"
    assert answer.leeroo["cost_usd"] == pytest.approx(answer.usage.total_tokens * 0.01e-6)


def test_the_engine_is_asked_by_its_socket(client):
    ends = time.monotonic() + 20
    replicas = [p for p in psutil.process_iter() if EXPERTS_REPLICA in "".join(cmdline_of(p)[:1])]
    while True:  # the first request has it looked for
        client.chat.completions.create(model="smollm2-135m", messages=ASKED, max_tokens=1)
        opened = [one.laddr for replica in replicas for one in replica.net_connections("unix")]
        if sum(path.endswith("/calls") for path in opened) > 1:  # where it listens, and a connection
            return
        assert time.monotonic() < ends, opened


def cmdline_of(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_stream_gives_the_same_words(client):
    whole = client.chat.completions.create(model="leeroo", messages=ASKED, max_tokens=8)
    pieces = list(
        client.chat.completions.create(
            model="leeroo", messages=ASKED, max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
    )
    streamed = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert streamed == whole.choices[0].message.content
    assert pieces[-1].usage == whole.usage


def test_a_text_beyond_the_context_is_refused_by_name(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="leeroo", messages=[{"role": "user", "content": "word " * 9000}])
    assert refused.value.code == "context_length_exceeded"


def test_an_operator_drains_and_changes_an_expert_of_the_running_endpoint(url, home, client):
    operator = Ledger(home / LEDGER_FILE).create_key("ops", operator=True)[1]
    catalogue = home / "experts.yaml"
    before = catalogue.read_text()

    def order(**order):
        headers = {"authorization": f"Bearer {operator}"}
        return httpx.post(f"{url}/v1/operate", json=order, headers=headers, timeout=30)

    def cost_usd():
        return client.chat.completions.create(model="leeroo", messages=ASKED, max_tokens=2).leeroo["cost_usd"]

    cheap = cost_usd()
    try:
        assert order(action="drain", expert="smollm2-135m").json()["experts"]["smollm2-135m"] == "drained"
        with pytest.raises(openai.InternalServerError, match="maintenance"):
            cost_usd()
        assert order(action="resume", expert="smollm2-135m").json()["ready"]
        catalogue.write_text(before.replace("0.01", "0.03"))
        assert order(action="reload").status_code == 200
        assert cost_usd() == pytest.approx(3 * cheap)
        catalogue.write_text(before.replace("enforce_eager: true", "max_num_seqs: 3"))
        refused = order(action="reload")
        assert (refused.status_code, "engine" in refused.text) == (400, True)
    finally:
        catalogue.write_text(before)
        order(action="reload")
    assert cost_usd() == pytest.approx(cheap)


def test_a_prompt_is_gone_on_with(client):
    answer = client.completions.create(model="smollm2-135m", prompt="The capital of Peru is", max_tokens=4)
    assert answer.choices[0].text.strip()
    assert answer.usage.completion_tokens == 4


def test_an_answer_keeps_to_a_schema_and_a_tool_is_called(client):
    city = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    answer = client.chat.completions.create(
        model="leeroo",
        messages=ASKED,
        max_tokens=30,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": city}},
    )
    assert json.loads(answer.choices[0].message.content)["n"] in {1, 2}
    tool = {"type": "function", "function": {"name": "look_up", "parameters": city, "strict": True}}
    called = client.chat.completions.create(
        model="leeroo",
        messages=ASKED,
        max_tokens=100,
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "look_up"}},
    )
    (call,) = called.choices[0].message.tool_calls
    assert call.function.name == "look_up"
    assert json.loads(call.function.arguments)  # what is in them is between the model and the engine


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_the_playground_answers_a_real_question(url, secret, tmp_path):
    page = Page(url, tmp_path / "profile")
    try:
        page.read("document.getElementById('query').focus()")
        page.type("What is the capital of Peru?")
        page.wait(lambda: page.read("document.activeElement.id") == "key")  # no key yet: the page asks for it
        page.type(secret)
        page.read("document.getElementById('query').focus()")
        page.press("Enter", modifiers=2)
        page.wait(lambda: page.read("document.getElementById('recent').rows.length") == 2)
        assert "Lima" in page.text("answer")
        assert page.text("facts").startswith("smollm2-135m, $")
        assert page.text("trouble") == ""
        assert page.photograph("playground.png").stat().st_size > 10_000
    finally:
        page.close()


def kill_replica(deployment):
    import ray

    named = ray.util.list_named_actors(all_namespaces=True)
    (name,) = [a["name"] for a in named if a["name"].startswith(f"SERVE_REPLICA::leeroo#{deployment}#")]
    ray.kill(ray.get_actor(name, namespace="serve"), no_restart=True)


def test_a_challenger_decides_for_its_share_and_in_the_shadow_of_the_rest(home, url, client, orchestrator):
    uri = f"sqlite:///{home / 'mlflow.db'}"
    challenger = log_version(orchestrator, tracking_uri=uri)

    def ask(text):
        messages = [{"role": "user", "content": text}]
        return client.chat.completions.create(model="leeroo", messages=messages, max_tokens=1).leeroo

    texts = [f"What is {n} + {n}?" for n in range(8)]
    canaries = [text for text in texts if is_canary(text, CANARY_SHARE, challenger)]
    assert 0 < len(canaries) < len(texts)
    deadline = time.monotonic() + 30
    while ask(canaries[0])["router_version"] != challenger:
        assert time.monotonic() < deadline, "the endpoint did not take up the challenger"
    told = {text: ask(text) for text in texts}
    for text, answer in told.items():
        assert answer["router_version"] == (challenger if text in canaries else "1")
    wait_until_settled(home)
    carry_traffic(ServeConfig(home=home))
    rows = Warehouse(str(home / "warehouse")).scan("traffic").to_pylist()
    decided = {row["request_id"]: row["router_version"] for row in rows}
    for text, answer in told.items():
        beside = None if text in canaries else challenger
        assert decided[answer["request_id"]] == answer["router_version"]
        assert decided.get(f"{answer['request_id']}:shadow") == beside


class Traffic:
    """Clients that ask all the time; every reply must be an answer, or a refusal in OpenAI's shape."""

    def __init__(self, url, secret, clients=6):
        self.replies = []
        self.broken = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url, secret)) for _ in range(clients)]

    def _ask(self, url, secret):
        body = {"messages": ASKED, "max_tokens": 2}
        headers = {"Authorization": f"Bearer {secret}"}
        while not self._stop.is_set():
            try:
                reply = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=300)
                content = reply.json()
                assert "choices" in content or content["error"]["message"]
                self.replies.append((time.monotonic(), reply.status_code, content))
            except Exception as error:
                self.broken.append(repr(error))

    def wait_for(self, condition, seconds):
        """Wait until a reply that comes from now on fits; return the seconds it took."""
        start = time.monotonic()
        while not any(
            at > start and condition(status, content) for at, status, content in self.replies[-50:]
        ):
            assert time.monotonic() - start < seconds, "the endpoint did not come back"
            time.sleep(0.1)
        return time.monotonic() - start

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def wait_until_settled(home, within_s=30):
    """An answer does not wait for its settlement, and a dead ingress's calls are settled without it."""
    ends = time.monotonic() + within_s
    while True:
        with sqlite3.connect(home / LEDGER_FILE) as db:
            (still_open,) = db.execute("select count(*) from calls where state = 'open'").fetchone()
        if not still_open:
            return
        assert time.monotonic() < ends, f"{still_open} calls are still open"
        time.sleep(0.1)


def test_under_load_promotions_and_deaths_lose_no_request_and_no_money(home, url, orchestrator):
    _, secret = Ledger(home / LEDGER_FILE).create_key("traffic", budget_usd=1.0, period="total")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    version = log_version(orchestrator, tracking_uri=uri)
    answered = {}
    with Traffic(url, secret) as traffic:
        traffic.wait_for(lambda status, _: status == 200, 60)
        set_champion(uri, version)
        promoted = traffic.wait_for(
            lambda status, told: status == 200 and told["leeroo"]["router_version"] == version, 30
        )
        rollback(uri)
        rolled_back = traffic.wait_for(
            lambda status, told: status == 200 and told["leeroo"]["router_version"] == "1", 30
        )
        quiet = len(traffic.replies)
        for part in ("bookkeeper", "router", "expert:smollm2-135m", "ingress"):
            kill_replica(part)
            time.sleep(1)
            answered[part] = traffic.wait_for(lambda status, _: status == 200, 240)
    print(f"\n{len(traffic.replies)} replies, {Counter(status for _, status, _ in traffic.replies)}")
    print(f"promotion {promoted:.1f} s, rollback {rolled_back:.1f} s, back after a death: {answered}")
    assert traffic.broken == []
    assert {status for _, status, _ in traffic.replies[:quiet]} == {200}
    assert max(promoted, rolled_back) < 10
    refused = [content for _, status, content in traffic.replies if status != 200]
    assert {content["error"]["code"] for content in refused} <= {
        "restarting",
        "no_expert_answered",
        "unavailable",  # the one expert that there is starts again
        "body_timeout",  # an ingress had read it as it died
    }
    told = [
        round(content["leeroo"]["cost_usd"] * 1e12) for _, status, content in traffic.replies if status == 200
    ]
    wait_until_settled(home)
    with sqlite3.connect(home / LEDGER_FILE) as db:
        costs = [cost for (cost,) in db.execute(OF_TRAFFIC)]
    # What was charged and not told is what an ingress had in its hands as it died. Its last answers may have
    # been sent and not settled: then an estimate stands in the books in their place.
    assert 0 <= len(costs) - len(told) <= len(refused)
    unsettled = Counter(told) - Counter(costs)
    assert unsettled.total() <= min(len(traffic._threads), (Counter(costs) - Counter(told)).total())
    ledger = Ledger(home / LEDGER_FILE)
    key_id = next(key.key_id for key in ledger.list_keys() if key.name == "traffic")
    ledger.reserve(key_id, "much later", [0.0], lifetime_s=1, now=time.time() + 1e6)
    key = next(key for key in ledger.list_keys() if key.key_id == key_id)
    assert round(key.spent_usd * 1e12) == sum(costs) > 0
    assert key.reserved_usd == 0  # what was set aside for requests that died came back


def test_no_secret_is_in_any_log(url, client):
    from ray._private.worker import _global_node

    logs = [path for path in Path(_global_node.get_session_dir_path(), "logs").rglob("*") if path.is_file()]
    assert any("serve" in str(path) for path in logs)
    assert [path for path in logs if re.search(rb"lk-[\w-]{20}", path.read_bytes())] == []


def test_a_front_that_the_cluster_does_not_have_is_refused(home, url):
    from serve.front.choice import front_of_cluster
    from serve.run import start_serving

    assert front_of_cluster() == "python"
    config = ServeConfig(
        home=home, experts=("smollm2-135m",), port=int(url.rpartition(":")[2]), front="haproxy"
    )
    with pytest.raises(InputError, match="has python as its front"):
        start_serving(config)
    assert httpx.get(f"{url}/readyz").status_code == 200
