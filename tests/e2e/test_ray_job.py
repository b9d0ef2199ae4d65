"""A round as people submit it to a cluster: ``ray job submit -- python -m pipelines.selfplay``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from orchestrator.registry import champion_version
from warehouse import Warehouse

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
CATALOGUE = """\
experts:
  - &small
    name: small
    backend: vllm
    model: bundled:smollm2-135m-instruct
    scoring: cloze
    context_tokens: 1024
    engine: {enforce_eager: true}
    price: {usd_per_mtok_in: 1.0, usd_per_mtok_out: 1.0}
"""


@pytest.mark.timeout(900)
def test_a_submitted_round_succeeds(tmp_path: Path, ray_cluster: str) -> None:
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    home = tmp_path / "home"
    command = [
        str(Path(sys.executable).with_name("ray")), "job", "submit", "--address", ray_cluster,
        "--working-dir", str(ROOT), "--", sys.executable, "-m", "pipelines.selfplay",
        "--home", str(home), "--catalogue", str(tmp_path / "catalogue.yaml"), "--round", "job",
        "--domain", "geography", "--domain", "arithmetic/chain_sum", "--per-domain", "30",
    ]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
        env=environment | {"RAY_AUTH_MODE": "token"},
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert "succeeded" in run.stdout
    assert Warehouse(home / "warehouse").scan("answers").num_rows == 60
    tracking_uri = f"sqlite:///{home / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name("leeroo")
    runs = client.search_runs([experiment.experiment_id], "params.kind = 'round'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert runs[0].data.metrics["answers/small/asked"] == 60
    assert champion_version(tracking_uri) == "1"
