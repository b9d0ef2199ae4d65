"""Rounds as people submit them to a cluster: ``ray job submit -- python -m pipelines.selfplay``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pytest

from orchestrator.versions.mlflow_registry import champion_version
from pipelines.questions.sources.base import is_frozen
from tests.ports import free_ports
from warehouse import Warehouse

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

ROOT = Path(__file__).parents[2]
#: One model asked in two ways: by the text of the options, and by their letters.
CATALOGUE = """\
experts:
  - {name: by-text, backend: vllm, model: "bundled:smollm2-135m-instruct", scoring: cloze,
     engine: {enforce_eager: true}, price: {usd_per_mtok_in: 2, usd_per_mtok_out: 2}, context_tokens: 1024}
  - {name: by-letter, backend: vllm, model: "bundled:smollm2-135m-instruct", scoring: letter,
     engine: {enforce_eager: true}, price: {usd_per_mtok_in: 1, usd_per_mtok_out: 1}, context_tokens: 1024}
"""


RAY = str(Path(sys.executable).with_name("ray"))


@pytest.fixture(scope="module")
def jobs_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster with ports of its own, as `ray start --head` makes it."""
    port, dashboard, agent, client = free_ports(4)
    command = [
        RAY, "start", "--head", "--block", "--num-cpus", "8", "--port", str(port), "--ray-client-server-port",
        str(client), "--dashboard-port", str(dashboard), "--dashboard-agent-listen-port", str(agent),
        "--node-ip-address", "127.0.0.1", "--disable-usage-stats",
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("ray") / "head.log"
    with log.open("w") as output:
        head = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, env=without_address()
        )
    address = f"http://127.0.0.1:{dashboard}"
    deadline = time.monotonic() + 180
    try:
        while subprocess.run(
            [RAY, "job", "list", "--address", address],
            capture_output=True,
            check=False,
            env=without_address(),
        ).returncode:
            assert head.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
        yield address
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()


def submit(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Submit a job. The agent of a cluster that has just started takes a moment to report for duty."""
    deadline = time.monotonic() + 120
    while True:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False, env=without_address()
        )
        if "No available agent" not in run.stderr + run.stdout or time.monotonic() > deadline:
            return run
        time.sleep(2)


def without_address() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return kept | {"RAY_AUTH_MODE": "token"}


@pytest.mark.timeout(900)
def test_two_submitted_rounds_succeed(tmp_path: Path, jobs_address: str) -> None:
    import mlflow  # takes seconds, in every process that collects this file

    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    home = tmp_path / "home"
    command = [
        *(RAY, "job", "submit", "--address", jobs_address, "--working-dir", str(ROOT), "--"),
        *(
            sys.executable,
            "-m",
            "pipelines.selfplay",
            "--home",
            str(home),
            "--round",
            "job0",
            "--rounds",
            "2",
        ),
        *("--catalogue", str(tmp_path / "catalogue.yaml"), "--per-domain", "20", "--frozen-questions", "30"),
        *("--domain", "geography", "--domain", "arithmetic/chain_sum", "--explore", "0.8"),
        *("--budget-usd", "0.05"),
    ]
    run = submit(command, 780)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert "succeeded" in run.stdout
    assert "What the rounds bought" in run.stdout
    assert "Contamination check: no question matches the frozen set." in run.stdout

    store = Warehouse(home / "warehouse")
    questions, answers = store.scan("questions"), store.scan("answers")
    by_round = {
        name: questions.filter(pc.equal(questions["round"], name)) for name in ("frozen", "job0", "job1")
    }
    assert [table.num_rows for table in by_round.values()] == [30, 40, 40]
    frozen = set(by_round["frozen"]["question_id"].to_pylist())
    assert frozen == {row["question_id"] for row in questions.to_pylist() if is_frozen(row)}
    keys = list(zip(answers["question_id"].to_pylist(), answers["expert"].to_pylist(), strict=True))
    assert len(keys) == len(set(keys))
    assert sum(question in frozen for question, _ in keys) == 60  # the frozen set is asked in full
    asked = len(keys) - 60
    assert 80 <= asked < 160, "the explorer asks a part of what there is to learn from"
    spent = pc.sum(answers["cost_usd"]).as_py()
    assert 0 < spent <= 0.05

    tracking_uri = f"sqlite:///{home / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name("leeroo")
    (whole,) = client.search_runs([experiment.experiment_id], "params.kind = 'selfplay'")
    rounds = client.search_runs([experiment.experiment_id], "params.kind = 'round'")
    assert {run.info.status for run in (whole, *rounds)} == {"FINISHED"}
    assert sorted(run.data.params["round"] for run in rounds) == ["job0", "job1"]
    assert {run.data.tags["mlflow.parentRunId"] for run in rounds} == {whole.info.run_id}
    assert whole.data.metrics["cost_usd"] == pytest.approx(spent)
    for found in rounds:
        low, value, high = (found.data.metrics[name] for name in ("after_low", "after", "after_high"))
        assert low <= value <= high
    # The second round's version was tested against the first's, and is champion only if it won.
    record = json.loads((home / "rounds" / "job1.json").read_text())
    assert record["promotion"]["former"] == "1"
    champion = champion_version(tracking_uri)
    assert champion == ("2" if record["promotion"]["promoted"] else "1")
    assert_loads_elsewhere(home, champion, tmp_path)


def assert_loads_elsewhere(home: Path, champion: str, tmp_path: Path) -> None:
    """The champion that a job left is loaded in another directory, by a program that knows the home alone.

    Nothing of it may lie in the job's working directory, which Ray removes.
    """
    for place in (home, shutil.copytree(home, tmp_path / "moved")):
        elsewhere = Path(tempfile.mkdtemp(dir=tmp_path))
        (elsewhere / "asked.txt").write_text("What is the capital of Peru?\n")
        command = [str(Path(sys.executable).with_name("leeroo")), "route", "asked.txt", "--home", str(place)]
        done = subprocess.run(
            [*command, "--version", champion],
            cwd=elsewhere, capture_output=True, text=True, check=False, env=without_address(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads((elsewhere / "asked.routed.jsonl").read_text())["expert"] in {
            "by-text",
            "by-letter",
        }
        assert {path.name for path in elsewhere.iterdir()} == {"asked.txt", "asked.routed.jsonl"}
    for path in home.rglob("*"):
        assert not path.is_symlink()
        assert "working_dir_files" not in str(path)
    with sqlite3.connect(home / "mlflow.db") as db:
        addresses = db.execute(
            "select artifact_uri from runs union select source from model_versions"
        ).fetchall()
    assert addresses
    assert not [address for (address,) in addresses if "working_dir_files" in address]


@pytest.mark.timeout(300)
def test_a_job_is_refused_a_home_in_its_working_directory(jobs_address: str) -> None:
    command = [RAY, "job", "submit", "--address", jobs_address, "--working-dir", str(ROOT / "examples"), "--"]
    command += ["bash", "-c", f'"{sys.executable}" -m pipelines.selfplay --home "$PWD/home" --round r0']
    run = submit(command, 200)
    assert run.returncode != 0
    assert "throw-away copy of the working directory" in run.stdout + run.stderr
