import os
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from orchestrator.train import train_router
from warehouse import Outcomes

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import LocalLedger, LocalRouter, ScriptedExpert

os.environ.setdefault("HF_HUB_OFFLINE", "1")

EXPERTS = ("smollm2-135m", "gemma-3-270m")
CAPITALS = ("France", "Peru", "Kenya", "Japan", "Norway", "Chile", "Egypt", "Ghana", "Italy", "Nepal")


def make_outcomes() -> Outcomes:
    """Geography, at which the second expert is better and dearer, and sums, at which the first is better."""
    rng = np.random.default_rng(0)
    n = 120
    geography = np.arange(n) % 2 == 0
    texts = tuple(
        f"What is the capital of {CAPITALS[i % 10]}, asked for the {i}th time?"
        if is_map
        else f"What is {i} + {i * 7}?"
        for i, is_map in enumerate(geography)
    )
    chances = np.where(geography[:, None], [0.3, 0.95], [0.8, 0.1])
    tokens = np.full((n, 2), 20, np.float32)
    return Outcomes(
        question_ids=np.array([f"q{i}" for i in range(n)]),
        texts=texts,
        prompts=texts,
        sources=np.full(n, "made"),
        domains=np.where(geography, "geography", "arithmetic"),
        subjects=np.full(n, ""),
        chance=np.full(n, 0.25, np.float32),
        experts=EXPERTS,
        score=(rng.random((n, 2)) < chances).astype(np.float32),
        cost_usd=np.tile([1e-6, 2e-6], (n, 1)) * rng.uniform(0.8, 1.2, (n, 1)),
        prompt_tokens=tokens,
        completion_tokens=tokens,
        latency_s=tokens,
    )


@pytest.fixture(scope="session")
def orchestrator():
    return train_router(make_outcomes(), embedder="wordllama").orchestrator


@pytest.fixture(scope="session")
def router_dir(orchestrator, tmp_path_factory):
    directory = tmp_path_factory.mktemp("router") / "v1"
    orchestrator.save(directory)
    return directory


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def local_experts():
    return {name: ScriptedExpert(name) for name in EXPERTS}


@pytest.fixture
def local_url(orchestrator, tmp_path, local_experts):
    """The web application on a port of its own, with scripted experts and no Ray."""
    import uvicorn

    from serve.config import ServeConfig
    from serve.http.api import create_api
    from serve.request.gateway import Gateway

    config = ServeConfig(home=tmp_path, access="auto")
    gateway = Gateway(config, LocalRouter(orchestrator), LocalLedger(config), local_experts)
    server = uvicorn.Server(uvicorn.Config(create_api(gateway), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
