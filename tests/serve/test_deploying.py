"""The configuration that `serve deploy` takes: it fits Serve's schema, and what it describes comes up."""

import time

import openai
import pytest
import yaml
from ray.serve._private.application_state import _get_shared_build_app_label_selector
from ray.serve.schema import ServeDeploySchema

from serve.app import ONE_CORE, ONE_LOOP
from serve.config import ServeConfig
from serve.deploying import deploy_config, write_deploy_config
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.run import APP_NAME
from tests.ports import free_port

CATALOGUE = """
experts:
  - name: smollm2-135m
    backend: vllm
    model: bundled:smollm2-135m-instruct
    resources: {num_cpus: 1, replicas_min: 1, replicas_max: 3}
    price: {usd_per_mtok_in: 0.01, usd_per_mtok_out: 0.01}
  - name: gemma-3-270m
    backend: openai
    model: gemma
    base_url: http://127.0.0.1:9/v1
    api_key_env: SOME_API_KEY
    price: {usd_per_mtok_in: 0.02, usd_per_mtok_out: 0.02}
"""


def test_labels_of_nodes_are_written_where_serve_reads_them(router_dir, tmp_path, monkeypatch):
    """What is in the file takes the place of what the code would choose, so a label has to be in it."""
    monkeypatch.setattr(
        "ray.is_initialized", lambda: False
    )  # it is for another cluster than that of the tests
    content = CATALOGUE.replace("num_cpus: 1,", "num_cpus: 1, node_labels: {home: here},")
    (tmp_path / "experts.yaml").write_text(content)
    config = ServeConfig(
        home=tmp_path,
        router_dir=router_dir,
        catalogue=tmp_path / "experts.yaml",
        experts=("smollm2-135m",),
        node_labels={"home": "here"},
    )
    (application,) = ServeDeploySchema.model_validate(deploy_config(config)).applications
    selectors = {part.name: part.ray_actor_options.label_selector for part in application.deployments}
    parts = ["router", "bookkeeper", "expert:smollm2-135m", "ingress"]
    assert selectors == {part: {"home": "here"} for part in parts}
    assert _get_shared_build_app_label_selector(application) == {"home": "here"}
    assert ServeConfig.parse(application.args).node_labels == {"home": "here"}


def test_every_deployment_is_described_and_no_secret_is_written(router_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-very-secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=sk-very-secret")
    (tmp_path / "experts.yaml").write_text(CATALOGUE)
    config = ServeConfig(
        home=tmp_path,
        router_dir=router_dir,
        catalogue=tmp_path / "experts.yaml",
        ingress_replicas=2,
        trace=True,
    )
    write_deploy_config(config, tmp_path / "serve.yaml")
    text = (tmp_path / "serve.yaml").read_text()
    assert "sk-very-secret" not in text
    (application,) = ServeDeploySchema.model_validate(yaml.safe_load(text)).applications
    assert ServeConfig.parse(application.args) == config.model_copy(update={"access": "keys"})
    described = {part["name"]: part for part in yaml.safe_load(text)["applications"][0]["deployments"]}
    assert list(described) == [
        "router",
        "bookkeeper",
        "expert:smollm2-135m",
        "traces",
        "ingress",
    ]
    assert described["ingress"]["num_replicas"] == 2
    assert "LEEROO_KEYS_FILE" not in text  # it lies on this machine, for as long as this process lives
    assert described["ingress"]["ray_actor_options"]["runtime_env"]["env_vars"] == ONE_LOOP | ONE_CORE
    assert described["bookkeeper"]["num_replicas"] == 1
    scaling = described["expert:smollm2-135m"]["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (1, 3)


@pytest.mark.e2e
def test_what_is_described_comes_up_with_two_ingresses(
    orchestrator, router_dir, tmp_path, ray_cluster, local_url
):
    """Both experts are APIs here: the test application, which any OpenAI client may call."""
    from ray import serve as ray_serve
    from ray.serve.context import _get_global_client

    from serve.run import stop_serving

    price = "price: {usd_per_mtok_in: 0.01, usd_per_mtok_out: 0.01}"
    api = f"backend: openai, model: leeroo, base_url: '{local_url}/v1', {price}"
    names = ("smollm2-135m", "gemma-3-270m")
    (tmp_path / "experts.yaml").write_text(
        "experts:\n" + "".join(f"  - {{name: {n}, {api}}}\n" for n in names)
    )
    home = tmp_path / "deployed"
    secret = Ledger(home / LEDGER_FILE).create_key("ann", budget_usd=1.0)[1]
    config = ServeConfig(
        home=home,
        router_dir=router_dir,
        catalogue=tmp_path / "experts.yaml",
        port=free_port(),
        ingress_replicas=2,
    )
    described = ServeDeploySchema.model_validate(deploy_config(config))
    try:  # what starts half on a busy machine must not stay in the other tests' way
        ray_serve.start(http_options={"host": config.host, "port": config.port})
        _get_global_client().deploy_apps(described)  # as `serve run FILE` and Serve's REST interface do
        deadline = time.monotonic() + 120
        while ray_serve.status().applications[APP_NAME].status != "RUNNING":
            assert time.monotonic() < deadline, ray_serve.status()
            time.sleep(0.5)
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{config.port}/v1", api_key=secret)
        talk_stays_together(client, orchestrator)
    finally:
        stop_serving()


def talk_stays_together(client, orchestrator):
    """A conversation is known to every ingress: the books hold it."""
    turns = [{"role": "user", "content": "What is the capital of Peru?"}]
    (decision,) = orchestrator.decide([turns[0]["content"]], multiplier=0)
    better = decision.success["gemma-3-270m"] - decision.success["smollm2-135m"]
    dearer = decision.cost_usd["gemma-3-270m"] - decision.cost_usd["smollm2-135m"]
    price = (better + 0.03) / dearer  # at which the other expert is better, but by little

    def ask(turns, multiplier):
        return client.chat.completions.create(
            model="leeroo", messages=turns, extra_body={"multiplier": multiplier}
        )

    assert {ask(turns, price).leeroo["expert"] for _ in range(4)} == {"smollm2-135m"}
    first = ask(turns, 0)
    assert first.leeroo["expert"] == "gemma-3-270m"
    turns = [*turns, {"role": "assistant", "content": first.choices[0].message.content}, *turns]
    assert {ask(turns, price).leeroo["expert"] for _ in range(12)} == {"gemma-3-270m"}
