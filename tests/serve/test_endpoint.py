"""The real thing: Ray Serve, a vLLM engine, the registry's champion, and the official client."""

import socket

import httpx
import openai
import pytest

from orchestrator.registry import log_version, set_champion
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


def test_the_books_agree_with_the_answers_and_survive_the_bookkeeper(client, home):
    def books():
        (key,) = Ledger(home / LEDGER_FILE).list_keys()
        return round(key.spent_usd * 1e12), key.reserved_usd

    def answer():
        return client.chat.completions.create(model="leeroo", messages=ASKED, max_tokens=2)

    before, _ = books()
    costs = [answer().leeroo["cost_usd"]]
    kill_replica("bookkeeper")
    costs.append(answer().leeroo["cost_usd"])
    kill_replica("router")
    costs.append(answer().leeroo["cost_usd"])
    after, reserved = books()
    assert after - before == sum(round(cost * 1e12) for cost in costs)
    assert reserved == 0


def kill_replica(deployment):
    import ray

    named = ray.util.list_named_actors(all_namespaces=True)
    (name,) = [a["name"] for a in named if a["name"].startswith(f"SERVE_REPLICA::leeroo#{deployment}#")]
    ray.kill(ray.get_actor(name, namespace="serve"), no_restart=True)


def test_a_new_champion_is_in_use_within_ten_seconds(home, url, orchestrator):
    import time

    uri = f"sqlite:///{home / 'mlflow.db'}"
    version = log_version(orchestrator, tracking_uri=uri, artifact_root=home / "mlartifacts")
    assert httpx.get(f"{url}/healthz").json()["router_version"] == "1"
    set_champion(uri, version)
    deadline = time.monotonic() + 10
    while httpx.get(f"{url}/healthz").json()["router_version"] != version:
        assert time.monotonic() < deadline, "the new champion did not arrive"
        time.sleep(0.2)
