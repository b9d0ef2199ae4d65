"""Exactly once: whatever is killed at whatever moment, a resumed round ends as an undisturbed one.

The experts are an API that this process serves, which answers after a little while and keeps the books by
which it would bill. The driver is a process of its own on this session's cluster, so that both the expert's
actor and the driver can be killed for good.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experts import load_catalogue
from pipelines.answering.bulk import answer_with_all
from pipelines.answering.round_money import RoundMoney
from pipelines.answering.taking_in import take_in_journals
from tests.billing_api import Books, serve_billing
from warehouse import QUESTIONS, Warehouse, question_id

pytestmark = [pytest.mark.e2e, pytest.mark.kills]

QUESTION_COUNT = 96
CONCURRENCY = 4
#: Rounds that are killed, half a minute each: two by CI, ten by `make test-kills`.
SEEDS = int(os.environ.get("LEEROO_KILL_SEEDS", "2"))
CATALOGUE = """\
experts:
  - {{name: one, backend: openai, model: one, base_url: "{url}", scoring: generate, concurrency: 4,
     price: {{usd_per_mtok_in: 1, usd_per_mtok_out: 1}}}}
  - {{name: two, backend: openai, model: two, base_url: "{url}", scoring: generate, concurrency: 4,
     price: {{usd_per_mtok_in: 2, usd_per_mtok_out: 2}}}}
"""
DRIVER = """
import sys
from experts import load_catalogue
from pipelines.answering.bulk import answer_with_all
from pipelines.ray_session import ray_session
from warehouse import Warehouse
url, catalogue, address, *names = sys.argv[1:]
warehouse = Warehouse(url)
with ray_session(address):
    experts = [expert for expert in load_catalogue(catalogue).experts if expert.name in names]
    answer_with_all(warehouse, experts, warehouse.scan("questions"), round="r0", run_id="killed",
                    batch_questions=8)
"""


def answer_sum(model: str, prompt: str) -> str:
    """Right for expert "one" on even sums and for "two" on odd ones."""
    total = sum(int(word) for word in prompt.split() if word.isdigit())
    return str(total if (total % 2 == 0) == (model == "one") else total + 1)


@pytest.fixture(scope="module")
def api() -> Iterator[tuple[str, Books]]:
    with serve_billing(answer_sum, fault_rate=0.03) as served:
        yield served


@pytest.fixture(scope="module")
def catalogue(api: tuple[str, Books], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kills") / "catalogue.yaml"
    path.write_text(CATALOGUE.format(url=api[0]))
    return path


def make_sums() -> pa.Table:
    rows = []
    for i in range(QUESTION_COUNT):
        prompt, answer = f"What is {i} + {3 * i + i % 2} ?", str(4 * i + i % 2)
        identity = {"question_id": question_id(prompt, None, answer), "source": "test", "domain": "sums"}
        rows.append(identity | {"prompt": prompt, "answer": answer, "kind": "exact"})
    return pa.Table.from_pylist(rows, schema=QUESTIONS)


def outcomes_of(store: Warehouse) -> dict[tuple[str, ...], Any]:
    columns = ("question_id", "expert", "expert_version", "score", "text", "cost_usd", "error")
    rows = store.scan("answers", columns).to_pylist()
    found = {
        tuple(row[name] for name in columns[:3]): tuple(row[name] for name in columns[3:]) for row in rows
    }
    assert len(found) == len(rows), "a key is there twice"
    return found


def our_actors() -> list[psutil.Process]:
    """Expert actors of this process's own cluster, and of no other on the machine."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "ExpertActor" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for_actors(driver: subprocess.Popen[bytes], log: Path) -> list[psutil.Process]:
    deadline = time.monotonic() + 240
    while not (found := our_actors()):
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return found


def assert_whole(store: Warehouse) -> None:
    """Every file that a reader could see is complete."""
    files = [path for path in Path(store.url).rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert files
    for path in files:
        if path.suffix == ".parquet":
            pq.read_table(path)
        else:
            json.loads(path.read_text())


@pytest.fixture(scope="module")
def undisturbed(
    ray_cluster: None, api: tuple[str, Books], catalogue: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, ...], Any]:
    store = Warehouse(tmp_path_factory.mktemp("undisturbed"))
    store.append("questions", make_sums(), round="r0")
    experts = load_catalogue(catalogue).experts
    receipts = answer_with_all(store, experts, make_sums(), round="r0", run_id="whole", batch_questions=8)
    assert [(r.asked, r.failed, r.unasked) for r in receipts] == [(QUESTION_COUNT, 0, 0)] * 2
    outcomes = outcomes_of(store)
    assert {outcome[0] for outcome in outcomes.values()} == {0.0, 1.0}
    return outcomes


@pytest.mark.timeout(600 if SEEDS < 10 else 3600)
def test_rounds_killed_at_random_moments(
    tmp_path: Path,
    ray_cluster: None,
    api: tuple[str, Books],
    catalogue: Path,
    undisturbed: dict[tuple[str, ...], Any],
) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    stages = []
    killed = 0
    for seed in range(SEEDS):
        rng = random.Random(seed)
        # Two experts side by side now and then; one is enough for most, and starts in half the time.
        experts = load_catalogue(catalogue).experts[: 2 if seed % 5 == 0 else 1]
        names = [expert.name for expert in experts]
        expected = {key: row for key, row in undisturbed.items() if key[1] in names}
        store = Warehouse(tmp_path / str(seed))
        store.append("questions", make_sums(), round="r0")
        log = tmp_path / f"{seed}.log"
        while our_actors():  # of the run before, on their way out
            time.sleep(0.05)
        books = api[1]
        books.clear()
        with log.open("w") as output:
            driver = subprocess.Popen(
                [sys.executable, "-c", DRIVER, store.url, str(catalogue), address, *names],
                stdout=output,
                stderr=output,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            )
        try:
            wait_for_actors(driver, log)
            if seed % 3:  # else it is killed while it starts
                assert books.asked.wait(240), log.read_text()
            time.sleep(1.2 * rng.random())
            kills = 0
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):  # it may have finished by now
                rng.choice(our_actors()).kill()
                kills = 1
            killed += kills
            time.sleep(4 * rng.random())
        finally:
            driver.kill()
            driver.wait()
        time.sleep(0.25)  # what had been sent has arrived
        orphans = books.calls()
        time.sleep(0.75)
        assert books.calls() == orphans, "an actor asks on for a driver that is dead"
        take_in_journals(Warehouse(store.url))
        kept = outcomes_of(Warehouse(store.url))
        assert kept.items() <= expected.items()
        receipts = answer_with_all(
            store, experts, make_sums(), round="r0", run_id="resumed", batch_questions=8
        )
        assert outcomes_of(store) == expected
        assert all(r.unasked == 0 for r in receipts)
        assert sum(r.asked + r.reused for r in receipts) == len(expected)
        assert_whole(store)
        # What an API that knows no idempotency keys has sold twice was in flight when something was killed.
        assert len(books.attempts) == len(expected)
        repeats = books.again(len(expected))
        assert repeats <= (kills + len(names)) * CONCURRENCY, books.attempts.most_common(20)
        price = {expert.name: expert.price.cost_usd(1.0, 0.0) for expert in experts}
        billed_usd = sum(tokens * price[model] for model, tokens in books.tokens.items())
        # A call whose end is not known stands in the books at its worst case.
        unknown = sum(books.faults.values()) + (kills + len(names)) * CONCURRENCY
        worst_usd = 700 * max(price.values())
        assert billed_usd <= RoundMoney(store, "r0").spent_usd() <= billed_usd + unknown * worst_usd
        assert not list(Path(store.url).rglob("*.jsonl"))
        stages.append((len(kept), len(expected), repeats))
    print("kept at the driver's death, of how many, requests sent again:", stages)
    assert killed >= 0.6 * SEEDS
    if SEEDS >= 10:  # few seeds may by chance all fall before the first answer or after the last
        assert killed >= 8, stages
        assert sum(0 < kept < count for kept, count, _ in stages) >= 3, stages
        assert any(repeats for _, _, repeats in stages), stages  # else nothing was in flight at any kill


@pytest.mark.timeout(300)
def test_two_writers_of_one_round_leave_each_row_once(
    tmp_path: Path, ray_cluster: None, api: tuple[str, Books], catalogue: Path, undisturbed: dict[Any, Any]
) -> None:
    """A driver that was thought dead may still be at work when the round is resumed."""
    experts = load_catalogue(catalogue).experts
    stores = [Warehouse(tmp_path / "shared") for _ in range(2)]

    def answer(store: Warehouse) -> None:
        answer_with_all(store, experts, make_sums(), round="r0", run_id="x", batch_questions=8)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(answer, stores))
    assert outcomes_of(stores[0]) == undisturbed
