"""The worked examples of the Python API, as a reader runs them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests/serve"))

from fake_experts import LocalLedger, LocalRouter, ScriptedExpert  # noqa: E402
from maps_and_sums import EXPERTS, make_outcomes  # noqa: E402

from tests.web_server import serve_app  # noqa: E402


@pytest.fixture
def example(monkeypatch):
    """Import an example as `python examples/NAME.py` does: with its folder on the path."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return importlib.import_module


def test_train_and_route(example, capsys):
    example("train_and_route").main()
    said = capsys.readouterr().out
    riddle = next(line for line in said.splitlines() if "Riddle 12" in line)
    assert riddle.strip().startswith("generalist")  # the only one that solves riddles
    assert said.count("below the best") == 3


def test_universe_for_a_budget(example, capsys):
    example("universe_for_a_budget").main()
    said = capsys.readouterr().out
    cheap, middle, dear = (line for line in said.splitlines() if line.startswith("$"))
    assert "generalist" not in cheap
    assert "generalist" in middle
    assert "generalist" in dear
    assert said.count("optimal, gap") == 3


def test_ask_the_endpoint(example, capsys, tmp_path):
    from orchestrator import train_router
    from serve.config import ServeConfig
    from serve.http.api import create_api
    from serve.request.gateway import Gateway

    router = train_router(make_outcomes(), embedder="wordllama", predictor="knn").orchestrator
    config = ServeConfig(home=tmp_path, access="auto")
    experts = {name: ScriptedExpert(name) for name in EXPERTS}
    gateway = Gateway(config, LocalRouter(router), LocalLedger(config), experts)
    with serve_app(create_api(gateway)) as url:
        example("ask_the_endpoint").main(f"{url}/v1")
    answer, who, *_, streamed = capsys.readouterr().out.splitlines()
    assert "says hello" in answer
    assert "smollm2-135m" in who or "gemma-3-270m" in who
    assert streamed
