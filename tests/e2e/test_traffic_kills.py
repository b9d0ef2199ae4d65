"""Ingress and bookkeeper killed under traffic: no answered request's row is lost, none doubled, the cap kept.

The experts are an API that answers at once; both parts are killed as by the kernel, alone and together, while
clients ask all the time and exploring is on.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from orchestrator.train import train_router
from serve.config import ServeConfig
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.traffic.carrying import carry_traffic
from tests.ports import free_port
from tests.scripted_api import ChatHandler, completion, serve_chat
from warehouse import Warehouse

sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))

from maps_and_sums import EXPERTS, make_outcomes

pytestmark = [pytest.mark.e2e, pytest.mark.kills, pytest.mark.timeout(900)]

#: Kills, some 10 s each: two by CI, ten by `make test-kills`.
SEEDS = int(os.environ.get("LEEROO_KILL_SEEDS", "2"))
CLIENTS = 6
CAP_USD = 1e-2  # some dozens of draws: the dear expert costs 3e-4 more, and is set aside for at 2e-3
CATALOGUE = """\
experts:
  - {{name: {0}, backend: openai, model: one, base_url: "{url}", scoring: generate,
     price: {{usd_per_mtok_in: 1, usd_per_mtok_out: 1}}}}
  - {{name: {1}, backend: openai, model: two, base_url: "{url}", scoring: generate,
     price: {{usd_per_mtok_in: 20, usd_per_mtok_out: 20}}}}
"""


class Api(ChatHandler):
    def act(self, body: dict[str, Any]) -> None:
        self.reply(completion("Lima", body["model"]))


@pytest.fixture(scope="module")
def config(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeConfig]:
    from serve.run import start_serving, stop_serving

    home = tmp_path_factory.mktemp("home")
    train_router(make_outcomes(), embedder="wordllama").orchestrator.save(home / "router")
    with serve_chat(Api) as url:
        (home / "experts.yaml").write_text(CATALOGUE.format(*EXPERTS, url=url))
        config = ServeConfig(
            home=home,
            catalogue=home / "experts.yaml",
            router_dir=home / "router",
            experts=EXPERTS,
            access="open",
            port=free_port(),
            explore_share=0.5,
            explore_temperature=10.0,
            explore_usd_per_day=CAP_USD,
            feedback_window_s=1.0,  # carried all the time
        )
        start_serving(config)
        yield config
        stop_serving()


class Clients:
    """Ask all the time; keep the ids of what was answered, and what was said of the rest."""

    def __init__(self, url: str) -> None:
        self.answered: list[str] = []
        self.refused = Counter[str]()
        self._url, self._stop = url, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def _ask(self) -> None:
        messages = [{"role": "user", "content": "What is the capital of Peru?"}]
        while not self._stop.is_set():
            try:
                body = {"messages": messages, "max_tokens": 5}
                reply = httpx.post(f"{self._url}/v1/chat/completions", json=body, timeout=60)
                if reply.status_code == 200:
                    self.answered.append(reply.json()["leeroo"]["request_id"])
                else:
                    self.refused[str(reply.status_code)] += 1
                    time.sleep(0.1)
            except Exception as error:
                self.refused[type(error).__name__] += 1
                time.sleep(0.1)

    def wait_for_more(self, count: int, within_s: float = 120.0) -> None:
        wanted, ends = len(self.answered) + count, time.monotonic() + within_s
        while len(self.answered) < wanted:
            assert time.monotonic() < ends, f"no answers any more: {self.refused}"
            time.sleep(0.05)

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def kill(part: str) -> int:
    """Kill a part's processes of this session's own cluster, as the kernel would; return how many."""
    killed = 0
    for process in psutil.Process().children(recursive=True):
        try:
            if f"ServeReplica:leeroo:{part}" in " ".join(process.cmdline()):
                process.kill()
                killed += 1
        except psutil.Error:
            continue
    return killed


def test_no_answered_request_is_lost_and_none_doubled(config: ServeConfig) -> None:
    luck, killed = random.Random(SEEDS), Counter[str]()
    with Clients(f"http://127.0.0.1:{config.port}") as clients:
        clients.wait_for_more(30)
        for _ in range(SEEDS):
            time.sleep(luck.uniform(0, 2))
            for part in luck.choice((["ingress"], ["bookkeeper"], ["ingress", "bookkeeper"])):
                killed[part] += kill(part)
            clients.wait_for_more(20)
        time.sleep(luck.uniform(0, 1))
        kill("ingress")  # with answers on their way to the ledger
        kill("bookkeeper")
    deadline = time.monotonic() + 60
    store = Warehouse(str(config.home / "warehouse"))
    while True:
        carry_traffic(config)
        rows = store.scan("traffic").to_pylist()
        missing = set(clients.answered) - {row["request_id"] for row in rows}
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(1)
    ids = [row["request_id"] for row in rows]
    print(f"\n{len(clients.answered)} answered, {len(ids)} rows, killed {killed}, refused {clients.refused}")
    assert killed.total() >= SEEDS
    assert not missing
    assert len(ids) == len(set(ids))
    assert any(row["explored"] for row in rows)
    for row in rows:
        assert sum(row["propensities"]) == pytest.approx(1)
        assert dict(zip(row["experts"], row["propensities"], strict=True))[row["chosen"]] > 0
    ledger = Ledger(config.home / LEDGER_FILE)
    for day in {f"{row['created_at']:%Y-%m-%d}" for row in rows}:
        assert ledger.exploring.spent_usd(day)[""] <= CAP_USD
