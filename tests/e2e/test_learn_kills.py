"""`leeroo learn` with paid APIs, killed at random moments: nothing is paid twice, and the cap holds."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
import pytest

from experts import load_catalogue
from orchestrator.versions.mlflow_registry import versions
from pipelines.answering.round_money import RoundMoney
from tests.billing_api import serve_billing, wait_for_calls
from tests.traffic_world import PRICES, record_traffic, reply_of, write_catalogue
from warehouse.home import Home

pytestmark = [pytest.mark.e2e, pytest.mark.kills]

CONCURRENCY = 4
#: One round that is killed twice by CI; ten that are killed four times each by `make test-kills`.
LONG = int(os.environ.get("LEEROO_KILL_SEEDS", "2")) >= 10
SEEDS, KILLS = (10, 4) if LONG else (1, 2)
#: Calls between two kills at most: a round has some 160, and is to be killed before it ends.
MOST_CALLS = 160 // (KILLS + 1)
CAP_USD = 0.25
ROOT = Path(__file__).parents[2]


def start(home: Path, catalogue: Path, address: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipelines.traffic", "--home", str(home), "--catalogue", str(catalogue)]
    command += ["--budget-usd", str(CAP_USD), "--requests", "100", "--judge", "judge", "--seeds", "1"]
    # by name: a round that has ended all the same is not followed by another one
    command += ["--round", "learn000"]
    command += ["--predictor", "knn", "--embedder", "wordllama", "--address", address]
    with log.open("a") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)


@pytest.mark.timeout(600 * SEEDS)
def test_a_killed_round_pays_again_only_what_was_in_flight(tmp_path: Path, ray_cluster: None) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    for seed in range(SEEDS):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        home, log = Home.open(folder / "home"), folder / "log.txt"
        with serve_billing(reply_of, seed=seed) as (url, books):
            catalogue = write_catalogue(folder / "catalogue.yaml", url, judge=True)
            specs = load_catalogue(str(catalogue)).experts
            record_traffic(home, 120, expert_version={s.name: s.version for s in specs}, seed=seed)
            kills = 0
            for _ in range(KILLS):
                before = books.calls()
                driver = start(home.path, catalogue, address, log)
                try:
                    wait_for_calls(books, before + rng.randint(3, MOST_CALLS), driver, log)
                finally:
                    kills += driver.poll() is None
                    driver.kill()
                    driver.wait()
                time.sleep(0.3)
                orphans = books.calls()
                time.sleep(1.0)
                assert books.calls() == orphans, "an actor asks on for a driver that is dead"
            driver = start(home.path, catalogue, address, log)
            assert driver.wait(600) == 0, log.read_text()[-3000:]
            store = home.warehouse()
            rows = store.scan("answers", ["question_id", "expert", "round", "run_id"])
            asked = rows.filter(pc.equal(rows["round"], "learn000"))
            served = rows.filter(pc.starts_with(pc.fill_null(rows["run_id"], ""), "request:"))
            again = books.again(asked.num_rows)
            print(f"{books.calls()} calls for {asked.num_rows} answers with {kills} kills, {again} again")
            assert kills >= KILLS - 1
            assert served.num_rows > 0
            assert "serve-2026-01-01" in set(served["round"].to_pylist()), "what was served was paid that day"
            pairs = list(zip(rows["question_id"].to_pylist(), rows["expert"].to_pylist(), strict=True))
            assert len(pairs) == len(set(pairs))
            # The sample fills the cap, and what was in flight at a kill is charged: there may be no money
            # left to ask it again, which is said.
            unpaid = len(books.attempts) - asked.num_rows
            assert 0 <= unpaid <= again
            assert unpaid == 0 or "the budget is spent" in log.read_text()
            assert asked.num_rows > 60
            assert again <= kills * 2 * CONCURRENCY
            billed_usd = sum(tokens * PRICES[model] * 1e-6 for model, tokens in books.tokens.items())
            spent_usd = RoundMoney(store, "learn000").spent_usd()
            assert billed_usd <= spent_usd + 1e-9
            assert spent_usd <= CAP_USD + 1e-9
            assert len(versions(home.mlflow_uri)) == 1
            assert not (home.rounds / "learn001.json").exists()
