"""Self-play with paid APIs, killed like a machine that goes down: only what was in flight is bought again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from pipelines.answering.round_money import RoundMoney
from tests.billing_api import serve_billing, wait_for_calls
from warehouse.home import Home

pytestmark = [pytest.mark.e2e, pytest.mark.kills]

CONCURRENCY = 4
LONG = int(os.environ.get("LEEROO_KILL_SEEDS", "2")) >= 10
#: One run that is killed twice by CI; ten that are killed four times each by `make test-kills`.
SEEDS, KILLS = (10, 4) if LONG else (1, 2)
ROOT = Path(__file__).parents[2]
CATALOGUE = """\
experts:
  - {{name: cheap, backend: openai, model: cheap, base_url: "{url}", scoring: generate, concurrency: 4,
     price: {{usd_per_mtok_in: 1, usd_per_mtok_out: 1}}}}
  - {{name: dear, backend: openai, model: dear, base_url: "{url}", scoring: generate, concurrency: 4,
     price: {{usd_per_mtok_in: 5, usd_per_mtok_out: 5}}}}
"""


def choose(model: str, prompt: str) -> str:
    luck = zlib.crc32(f"{model} {prompt}".encode()) % 100
    at_home = ("capital" in prompt) == (model == "dear")
    return "A" if luck < (80 if at_home else 30) else "B"


def start(home: Path, catalogue: Path, address: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipelines.selfplay", "--home", str(home), "--catalogue", str(catalogue)]
    command += ["--domain", "geography/capital", "--domain", "arithmetic/chain_sum", "--per-domain", "40"]
    command += ["--frozen-questions", "20", "--embedder", "wordllama", "--address", address]
    with log.open("a") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)


@pytest.mark.timeout(3600 if LONG else 600)
def test_killed_self_play_buys_again_only_what_was_in_flight(tmp_path: Path, ray_cluster: None) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    for seed in range(SEEDS):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        home, log, catalogue = folder / "home", folder / "log.txt", folder / "catalogue.yaml"
        with serve_billing(choose, seed=seed) as (url, books):
            catalogue.write_text(CATALOGUE.format(url=url))
            kills = 0
            for _ in range(KILLS):
                before = books.calls()
                driver = start(home, catalogue, address, log)
                try:
                    wait_for_calls(books, before + rng.randint(3, 25), driver, log)
                finally:
                    kills += driver.poll() is None
                    driver.kill()
                    driver.wait()
                time.sleep(0.3)
                orphans = books.calls()
                time.sleep(1.0)
                assert books.calls() == orphans, "an actor asks on for a driver that is dead"
            driver = start(home, catalogue, address, log)
            assert driver.wait(600) == 0, log.read_text()[-3000:]
            store = Home.open(home).warehouse()
            answers = store.scan("answers", ["cost_usd"])
            again = books.again(answers.num_rows)
            print(f"{books.calls()} calls for {answers.num_rows} answers with {kills} kills")
            assert kills >= KILLS - 1
            assert len(books.attempts) == answers.num_rows > 150
            # Both experts answer side by side.
            assert again <= kills * 2 * CONCURRENCY
            price = {"cheap": 1e-6, "dear": 5e-6}
            billed_usd = sum(tokens * price[model] for model, tokens in books.tokens.items())
            spent = sum(RoundMoney(store, round).spent_usd() for round in ("frozen", "r000"))
            assert billed_usd <= spent <= billed_usd + kills * 2 * CONCURRENCY * 1500 * 5e-6
