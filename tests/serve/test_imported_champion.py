"""The walk of docs/howto/evaluation-logs.md, on logs that lm-eval 0.4.13 wrote of both small models.

The logs are the first thirty samples of each task in examples/lm_eval, and their results in part; scripted
experts stand in for the models.
"""

import json
import re
import sys
import urllib.request
from pathlib import Path

from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import LocalLedger, LocalRouter, ScriptedExpert

from orchestrator.versions.mlflow_registry import load_champion
from pipelines.cli import app
from serve.config import ServeConfig
from serve.http.api import create_api
from serve.request.gateway import Gateway
from tests.web_server import serve_app
from warehouse.home import Home

LOGS = Path(__file__).parent.parent / "pipelines" / "importing" / "lm_eval_logs"
NAMED = ["--expert", "smollm2-135m-instruct=smollm2-135m"]


def run(home, *words):
    done = CliRunner().invoke(app, [*words, "--home", str(home)])
    assert done.exit_code == 0, (done.output, done.exception)
    return " ".join(done.output.split())


def ask(url, secret, question):
    body = {"model": "leeroo", "messages": [{"role": "user", "content": question}], "max_tokens": 20}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {secret}"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def test_sample_logs_become_an_endpoint(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = tmp_path / "home"
    assert "60 questions, 120 answers (120 new); nothing is written" in run(
        home, "import", "lm-eval", str(LOGS), *NAMED, "--dry-run"
    )
    assert "60 questions (60 new), 120 answers (120 new)" in run(home, "import", "lm-eval", str(LOGS), *NAMED)
    trained = run(home, "train", "--embedder", "wordllama", "--predictor", "knn", "--seeds", "1")
    assert "version 1 is champion" in trained
    secret = re.findall(r"lk-\S+", run(home, "keys", "create", "ann", "--budget-usd", "1"))[0]

    champion, version = load_champion(Home.open(home).mlflow_uri)
    assert set(champion.experts) == {"smollm2-135m", "gemma-3-270m"}
    config = ServeConfig(home=home, access="keys")
    experts = {name: ScriptedExpert(name) for name in champion.experts}
    gateway = Gateway(config, LocalRouter(champion), LocalLedger(config), experts)
    with serve_app(create_api(gateway)) as url:
        capital = ask(url, secret, "What is the capital of Bolivia?")
        total = ask(url, secret, "What is 17 + 25?")
    assert version == "1"
    for answer in (capital, total):
        said = answer["choices"][0]["message"]["content"]
        assert said == f"{answer['leeroo']['expert']} says hello"
        assert answer["leeroo"]["expert"] in champion.experts
        assert answer["leeroo"]["cost_usd"] > 0
    # Both know capitals, and neither can add.
    assert capital["leeroo"]["predicted_success"] > total["leeroo"]["predicted_success"] + 0.1
