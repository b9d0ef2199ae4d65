"""Rounds on two Ray nodes, one of which is killed: complete, nothing twice, and told in a line.

The experts are an API that bills; labels pin one to each node. What an API has sold twice was in flight on
the node that was killed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest

from experts import load_catalogue
from pipelines.answering.round_money import RoundMoney
from tests.billing_api import Books, serve_billing, wait_for_calls
from tests.e2e.test_kills import answer_sum, make_sums, outcomes_of
from tests.e2e.test_selfplay_kills import choose
from tests.ray_nodes import RayNodes
from warehouse import Warehouse
from warehouse.home import Home

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

CONCURRENCY = 4
WORST_USD = 1500 * 5e-6  # of one call
CATALOGUE = """\
experts:
  - {{name: one, backend: openai, model: {one}, base_url: "{url}", scoring: generate, concurrency: 4,
     resources: {{node_labels: {{node: a}}}}, price: {{usd_per_mtok_in: 1, usd_per_mtok_out: 1}}}}
  - {{name: two, backend: openai, model: {two}, base_url: "{url}", scoring: generate, concurrency: 4,
     resources: {{node_labels: {{node: {node}}}}}, price: {{usd_per_mtok_in: 5, usd_per_mtok_out: 5}}}}
"""
PRICE = {"one": 1e-6, "two": 5e-6, "cheap": 1e-6, "dear": 5e-6}
#: Answers alone, with little patience for a lost node.
DRIVER = """
import sys
from experts import load_catalogue
from pipelines.answering import holding
from pipelines.answering.bulk import answer_with_all
from pipelines.ray_session import ray_session
from warehouse import LeerooError, Warehouse
holding.LOST_NODE_WAIT_S = 6.0
url, catalogue = sys.argv[1:]
warehouse = Warehouse(url)
with ray_session():
    try:
        receipts = answer_with_all(warehouse, load_catalogue(catalogue).experts, warehouse.scan("questions"),
                                   round="r0", run_id="nodes", batch_questions=8, budget_usd=5.0)
    except LeerooError as error:
        print("REFUSED", error)
    else:
        for r in receipts:
            print("RECEIPT", r.expert, r.asked + r.reused, r.unasked, r.problem)
"""


def billed_usd(books: Books) -> float:
    return sum(tokens * PRICE[model] for model, tokens in books.tokens.items())


@pytest.fixture
def nodes(ray_nodes: RayNodes) -> RayNodes:
    ray_nodes.restore()
    return ray_nodes


@pytest.mark.timeout(420)
def test_a_round_whose_node_is_killed_and_comes_back_is_complete(tmp_path: Path, nodes: RayNodes) -> None:
    home, log, catalogue = tmp_path / "home", tmp_path / "log.txt", tmp_path / "catalogue.yaml"
    with serve_billing(choose, host=nodes.host) as (url, books):
        catalogue.write_text(CATALOGUE.format(url=url, one="cheap", two="dear", node="b"))
        command = [
            sys.executable,
            "-m",
            "pipelines.selfplay",
            "--home",
            str(home),
            "--catalogue",
            str(catalogue),
        ]
        command += ["--domain", "geography/capital", "--domain", "arithmetic/chain_sum", "--per-domain", "40"]
        command += ["--frozen-questions", "20", "--embedder", "wordllama", "--budget-usd", "5"]
        driver = nodes.run("head", command, log=log)
        wait_for_calls(books, 70, driver, log)  # beyond the frozen set
        nodes.kill("b")
        nodes.restore()
        assert driver.wait(240) == 0, log.read_text()[-4000:]
        store = Home.open(home).warehouse()
        answers = store.scan("answers", ["question_id", "expert", "cost_usd"])
        again = books.again(answers.num_rows)
        print(f"\n{books.calls()} calls for {answers.num_rows} answers, {again} of them asked twice")
        assert answers.num_rows > 150
        assert (
            len(set(zip(*map(pa.ChunkedArray.to_pylist, answers.columns[:2]), strict=True)))
            == answers.num_rows
        )
        assert len(books.attempts) == answers.num_rows
        assert again <= CONCURRENCY
        spent_usd = sum(RoundMoney(store, name).spent_usd() for name in ("frozen", "r000"))
        assert billed_usd(books) - 1e-9 <= spent_usd <= billed_usd(books) + CONCURRENCY * WORST_USD
    said = log.read_text()
    told = [line for line in said.splitlines() if "was lost" in line]
    print("\n".join(told))
    assert len(told) == 1, said
    assert nodes.ip("b") in told[0]
    assert "Traceback" not in said


@pytest.mark.timeout(420)
def test_an_expert_whose_node_does_not_come_back_leaves_questions_open(
    tmp_path: Path, nodes: RayNodes
) -> None:
    log, catalogue = tmp_path / "log.txt", tmp_path / "catalogue.yaml"
    store = Warehouse(tmp_path / "warehouse")
    sums = make_sums()
    store.append("questions", sums, round="r0")
    command = [sys.executable, "-c", DRIVER, store.url, str(catalogue)]
    with serve_billing(answer_sum, host=nodes.host) as (url, books):
        catalogue.write_text(CATALOGUE.format(url=url, one="one", two="two", node="nowhere"))
        assert nodes.run("head", command, log=log).wait(120) == 0, log.read_text()
        (refused,) = [line for line in log.read_text().splitlines() if line.startswith("REFUSED")]
        print(f"\n{refused}")
        assert "expert 'two': no node can hold it: it takes 1 CPUs, a label node=nowhere" in refused
        assert books.calls() == 0

        catalogue.write_text(CATALOGUE.format(url=url, one="one", two="two", node="b"))
        driver = nodes.run("head", command, log=log)
        wait_for_calls(books, 40, driver, log)
        nodes.kill("b")
        assert driver.wait(180) == 0, log.read_text()
        said = log.read_text().splitlines()
        told = {line.split()[1]: line for line in said if line.startswith("RECEIPT")}
        print(told["two"])
        assert told["one"] == f"RECEIPT one {sums.num_rows} 0 None"
        _, _, kept, left, problem = told["two"].split(maxsplit=4)
        assert int(kept) + int(left) == sums.num_rows
        assert int(left) > 0
        assert problem.startswith("its node was lost and did not come back: no node can hold it")

        nodes.restore()
        log.unlink()
        assert nodes.run("head", command, log=log).wait(180) == 0, log.read_text()
        assert f"RECEIPT two {sums.num_rows} 0 None" in log.read_text()
        outcomes = outcomes_of(store)  # each key once
        assert len(outcomes) == 2 * sums.num_rows
        again = books.again(len(outcomes))
        print(f"{books.calls()} calls for {len(outcomes)} answers, {again} of them asked twice")
        assert again <= CONCURRENCY
        spent_usd = RoundMoney(store, "r0").spent_usd()
        assert billed_usd(books) - 1e-9 <= spent_usd <= billed_usd(books) + CONCURRENCY * WORST_USD
        assert {expert.name for expert in load_catalogue(catalogue).experts} == {key[1] for key in outcomes}
