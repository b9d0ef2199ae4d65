import os
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.train import train_router

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from fake_experts import LocalLedger, LocalRouter, ScriptedExpert
from hostile_upstream import serve_hostile
from maps_and_sums import EXPERTS, make_outcomes

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def orchestrator():
    return train_router(make_outcomes(), embedder="wordllama").orchestrator


@pytest.fixture(scope="session")
def router_dir(orchestrator, tmp_path_factory):
    directory = tmp_path_factory.mktemp("router") / "v1"
    orchestrator.save(directory)
    return directory


@pytest.fixture(scope="module")
def upstream():
    """An API that misbehaves as it is told, and keeps a bill."""
    with serve_hostile() as served:
        yield served


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
    server = uvicorn.Server(uvicorn.Config(create_api(gateway), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
