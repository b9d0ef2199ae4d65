"""A process that asks a paid API, killed again and again: only what was in flight is bought a second time.

The same as tests/e2e/test_kills.py without a cluster, so that it takes seconds and can be done often.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from experts import load_catalogue
from pipelines.answering.open_work import find_open_work
from pipelines.answering.round_money import RoundMoney
from tests.billing_api import Books, serve_billing
from warehouse import QUESTIONS, Warehouse, question_id

pytestmark = pytest.mark.kills

ROOT = Path(__file__).parents[2]
CONCURRENCY = 6
COUNT = 120
SEEDS = int(os.environ.get("LEEROO_KILL_SEEDS", "2"))
CATALOGUE = """\
experts:
  - {{name: one, backend: openai, model: one, base_url: "{url}", scoring: generate, concurrency: 6,
     timeout_s: 20, price: {{usd_per_mtok_in: 1000, usd_per_mtok_out: 1000}}}}
"""
#: Asks in blocks of 32 and stores each, as the actor does.
ASKER = """
import sys
from experts import answer_and_grade, build_backend, load_catalogue
from pipelines.answering.open_work import find_open_work
from pipelines.answering.paid_calls import PaidCalls
from warehouse import Warehouse
url, catalogue, session = sys.argv[1:]
warehouse, (spec,) = Warehouse(url), load_catalogue(catalogue).experts
todo = find_open_work(warehouse, [spec], warehouse.scan("questions")).todo
if todo:
    calls, backend = PaidCalls(url, "r", "run", spec, session, None), build_backend(spec)
    for start in range(0, todo["one"].num_rows, 32):
        block = todo["one"].slice(start, 32)
        rows = answer_and_grade(backend, spec, block, round="r", run_id="run", purse=calls,
                                keep=calls.keeper(block))
        rows = calls.stamp(rows)
        warehouse.append("answers", rows.filter(rows["error"].is_null()), round="r", expert="one")
"""


@pytest.fixture(scope="module")
def api() -> Iterator[tuple[str, Books]]:
    with serve_billing(lambda model, prompt: "Paris", fault_rate=0.05) as served:
        yield served


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_random_moments(tmp_path: Path, api: tuple[str, Books], seed: int) -> None:
    url, books = api
    books.clear()
    rng = random.Random(seed)
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(CATALOGUE.format(url=url))
    store = Warehouse(f"{'file://' * (seed % 2)}{tmp_path / 'warehouse'}")
    rows = [
        {"question_id": question_id(f"Capital {i}?", None, "Paris"), "source": "t", "domain": "d",
         "prompt": f"Capital {i}?", "answer": "Paris", "kind": "exact"} for i in range(COUNT)
    ]  # fmt: skip
    questions = pa.Table.from_pylist(rows, schema=QUESTIONS)
    store.append("questions", questions, round="r")
    (spec,) = load_catalogue(catalogue).experts
    kills = 0
    while find_open_work(store, [spec], questions):
        before = books.calls()
        asker = subprocess.Popen(
            [sys.executable, "-c", ASKER, store.url, str(catalogue), f"s{kills}"], cwd=ROOT
        )
        wanted = before + rng.randint(1, 45)
        while books.calls() < wanted and asker.poll() is None:
            time.sleep(0.002)
        if asker.poll() is None:
            asker.kill()
            kills += 1
        assert asker.wait() in (0, -9)
        time.sleep(0.1)
    print(f"{kills} kills, {books.again(COUNT)} of {COUNT} calls made again")
    assert kills >= 2
    answers = store.scan("answers")
    assert answers["score"].to_pylist() == [1.0] * COUNT
    assert len(books.attempts) == COUNT
    assert 0 <= books.again(COUNT) <= kills * CONCURRENCY
    billed_usd = sum(books.tokens.values()) / 1000
    unknown = kills * CONCURRENCY + sum(books.faults.values())
    assert billed_usd <= RoundMoney(store, "r").spent_usd() <= billed_usd + 0.6 * unknown
    assert not list(tmp_path.rglob("*.jsonl"))
