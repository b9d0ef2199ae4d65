"""The real parts together: vLLM engines answer through Ray Data, and a killed round is taken up again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from experts import load_catalogue
from pipelines.answering.bulk import answer_questions
from pipelines.answering.domains import find_domain_gaps, measure_domains
from pipelines.answering.open_work import open_questions
from pipelines.questions import make_questions
from warehouse import Warehouse, load_outcomes

pytestmark = pytest.mark.e2e

CATALOGUE = """\
experts:
  - name: tiny
    backend: vllm
    model: bundled:smollm2-135m-instruct
    scoring: cloze
    context_tokens: 1024
    max_tokens: 8
    engine: {enforce_eager: true}
    price: {usd_per_mtok_in: 1.0, usd_per_mtok_out: 2.0}
"""

ANSWER = """
import sys
from experts import load_catalogue
from pipelines.answering.bulk import answer_questions
from pipelines.ray_session import ray_session
from warehouse import Warehouse
warehouse = Warehouse(sys.argv[1])
spec = load_catalogue(sys.argv[2]).get("tiny")
questions = warehouse.scan("questions")
with ray_session():
    answer_questions(warehouse, spec, questions, round="r0", run_id="killed", batch_questions=4)
"""


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    path = tmp_path / "catalogue.yaml"
    path.write_text(CATALOGUE)
    return path


def test_a_killed_round_goes_on_where_it_was(tmp_path: Path, catalogue: Path, ray_cluster: None) -> None:
    store = Warehouse(tmp_path / "warehouse")
    questions = make_questions(["geography", "arithmetic"], 40, seed=5)
    store.append("questions", questions, round="r0")
    spec = load_catalogue(catalogue).get("tiny")
    log = (tmp_path / "killed.log").open("w")
    driver = subprocess.Popen(
        [sys.executable, "-c", ANSWER, store.url, str(catalogue)],
        stdout=log,
        stderr=log,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        deadline = time.monotonic() + 240
        while not (done := store.answered(spec.name, spec.version)):
            assert driver.poll() is None, (tmp_path / "killed.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "killed.log").read_text()
            time.sleep(0.05)
    finally:
        workers = psutil.Process(driver.pid).children(recursive=True)
        os.killpg(driver.pid, signal.SIGKILL)  # the driver, its raylet and its engine, all at once
        driver.wait()
    psutil.wait_procs(workers, timeout=60)  # an engine that outlives its driver may finish a block
    assert 0 < len(done) < questions.num_rows
    kept = store.answered(spec.name, spec.version)
    before = store.scan("answers")

    progress: list[int] = []
    receipt = answer_questions(
        store, spec, questions, round="r0", run_id="resumed", on_progress=progress.append
    )
    assert receipt.reused == len(kept)
    assert receipt.asked == questions.num_rows - len(kept)
    assert sum(progress) == questions.num_rows
    after = store.scan("answers")
    assert sorted(after["question_id"].to_pylist()) == sorted(questions["question_id"].to_pylist())
    by_run = dict(zip(*[after[name].to_pylist() for name in ("question_id", "run_id")], strict=True))
    assert {q for q, run in by_run.items() if run == "killed"} == set(before["question_id"].to_pylist())

    again = answer_questions(store, spec, questions, round="r1", run_id="again")
    assert (again.asked, again.reused) == (0, questions.num_rows)
    assert open_questions(store, spec, questions).num_rows == 0

    outcomes = load_outcomes(store)
    assert outcomes.score.shape == (questions.num_rows, 1)
    with store.connect() as connection:
        results = measure_domains(connection, questions["question_id"].to_pylist(), ["tiny"])
        ((total,),) = connection.sql("select sum(cost_usd) from answers").fetchall()
    assert {result.domain for result in results} == {"geography", "arithmetic"}
    assert sum(result.cost_usd for result in results) == pytest.approx(total)
    priced = sum(r.prompt_tokens * 1e-6 + r.completion_tokens * 2e-6 for r in results)
    assert priced == pytest.approx(total)
    geography = next(result for result in results if result.domain == "geography")
    assert geography.knows, f"a real model knows some capitals, this one scored {geography.accuracy}"
    assert [gap.domain for gap in find_domain_gaps(results)] in ([], ["arithmetic"])
