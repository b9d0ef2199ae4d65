import os
import sys
from pathlib import Path

import pytest

from orchestrator.train import train_router
from serve.ledger.store.place import open_store, postgres_place

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from fake_experts import LocalLedger, LocalRouter, ScriptedExpert
from hostile_upstream import serve_hostile
from local_postgres import LocalPostgres
from maps_and_sums import EXPERTS, make_outcomes

from tests.web_server import serve_app

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def orchestrator():
    return train_router(make_outcomes(), embedder="wordllama").orchestrator


@pytest.fixture(scope="session")
def router_dir(orchestrator, tmp_path_factory):
    directory = tmp_path_factory.mktemp("router") / "v1"
    orchestrator.save(directory)
    return directory


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server for all tests of this process; it starts in a second."""
    try:
        server = LocalPostgres()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    yield server
    server.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def either_store(request):
    """Run the tests of a module twice: with ledgers in files, and with each of them on PostgreSQL."""
    if request.param == "sqlite":
        yield None
        return
    server = request.getfixturevalue("postgres")
    opened = []

    def open_there(place):
        left = [known for known in opened[-40:] if known[0].parent.exists()]  # a server has room for so many
        for known in opened:
            if known not in left:
                known[1].close()
        opened[:] = left
        store = open_store(postgres_place(server.url(place), "the test"))
        opened.append((place, store))
        return store

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serve.ledger.ledger.open_store", open_there)
        patch.setattr("serve.ledger.audit.open_store", open_there)
        yield server
    for _, store in opened:
        store.close()


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
    from serve.config import ServeConfig
    from serve.http.api import create_api
    from serve.request.gateway import Gateway

    config = ServeConfig(home=tmp_path, access="auto")
    gateway = Gateway(config, LocalRouter(orchestrator), LocalLedger(config), local_experts)
    with serve_app(create_api(gateway)) as url:
        yield url
