"""The real thing: Ray Serve, a vLLM engine, the registry's champion, and the official client."""

import socket
import threading
import time

import httpx
import openai
import pytest

from orchestrator.registry import log_version, rollback, set_champion
from serve.app import build
from serve.ledger import LEDGER_FILE, Ledger

pytestmark = pytest.mark.e2e

ASKED = [{"role": "user", "content": "What is the capital of Peru?"}]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def home(orchestrator, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    set_champion(uri, log_version(orchestrator, tracking_uri=uri, artifact_root=home / "mlartifacts"))
    return home


@pytest.fixture(scope="module")
def url(home, ray_cluster):
    from serve.run import ServeConfig, start_serving, stop_serving

    config = ServeConfig(
        home=home, access="keys", experts=("smollm2-135m",), port=free_port(), poll_champion_s=1
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
    assert app._bound_deployment.init_args[0].tracking_uri == f"sqlite:///{home / 'mlflow.db'}"


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


def test_a_prompt_is_gone_on_with(client):
    answer = client.completions.create(model="smollm2-135m", prompt="The capital of Peru is", max_tokens=4)
    assert answer.choices[0].text.strip()
    assert answer.usage.completion_tokens == 4


def kill_replica(deployment):
    import ray

    named = ray.util.list_named_actors(all_namespaces=True)
    (name,) = [a["name"] for a in named if a["name"].startswith(f"SERVE_REPLICA::leeroo#{deployment}#")]
    ray.kill(ray.get_actor(name, namespace="serve"), no_restart=True)


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


def test_under_load_promotions_and_deaths_lose_no_request_and_no_money(home, url, orchestrator):
    _, secret = Ledger(home / LEDGER_FILE).create_key("traffic", budget_usd=1.0, period="total")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    version = log_version(orchestrator, tracking_uri=uri, artifact_root=home / "mlartifacts")
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
        for part in ("bookkeeper", "router", "expert:smollm2-135m"):
            kill_replica(part)
            time.sleep(1)
            answered[part] = traffic.wait_for(lambda status, _: status == 200, 240)
    print(f"promotion {promoted:.1f} s, rollback {rolled_back:.1f} s, back after a death: {answered}")
    assert traffic.broken == []
    assert {status for _, status, _ in traffic.replies[:quiet]} == {200}
    assert max(promoted, rolled_back) < 10
    paid = sum(
        round(told["leeroo"]["cost_usd"] * 1e12) for _, status, told in traffic.replies if status == 200
    )
    (key,) = [key for key in Ledger(home / LEDGER_FILE).list_keys() if key.name == "traffic"]
    assert round(key.spent_usd * 1e12) == paid > 0
    assert key.reserved_usd == 0
