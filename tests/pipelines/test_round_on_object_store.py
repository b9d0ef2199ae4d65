"""A round whose tables and whose MLflow's files lie on an S3-compatible server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from orchestrator.predictors.states import ARRAYS
from pipelines.questions.sources.base import QuestionSettings
from pipelines.selfplay.run import run_selfplay
from pipelines.selfplay.settings import RouterSettings, SelfplaySettings
from tests.object_store import object_store
from tests.ports import free_port
from warehouse import load_outcomes
from warehouse.home import Home
from warehouse.keeping.integrity import inspect_tables

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]
BUCKET = "leeroo-round"
#: Parts of MLflow's server that take a minute to start on a busy machine, and that no round needs.
QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def script(model: str, prompt: str) -> str:
    """Sums are for one expert, capitals for the other."""
    at_home = ("capital" in prompt) == (model == "dear")
    return "A" if zlib.crc32(f"{model} {prompt}".encode()) % 100 < (80 if at_home else 30) else "B"


@contextmanager
def mlflow_server(folder: Path, store: str) -> Iterator[str]:
    """MLflow with its database in a folder and its files on the object store, as infra/mlflow starts it."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--workers", "1"),
        *("--artifacts-destination", f"s3://{BUCKET}/mlflow"),
    ]
    log = folder / "mlflow.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | {"MLFLOW_S3_ENDPOINT_URL": f"http://{store}"} | QUIET,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        while True:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # its workers too
        server.wait()


@pytest.mark.timeout(900)
def test_a_round_and_its_router_live_on_the_object_store(
    tmp_path: Path, ray_cluster: None, scripted_server: Callable[[Callable[[str, str], str]], str]
) -> None:
    """Neither tables nor the router's files are left at home, and each answer is there once."""
    url = scripted_server(script)
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(
        "experts:\n"
        + "".join(
            f"  - {{name: {name}, backend: openai, model: {name}, base_url: '{url}', scoring: generate,"
            f" price: {{usd_per_mtok_in: {price}, usd_per_mtok_out: {price}}}}}\n"
            for name, price in (("cheap", 1), ("dear", 5))
        )
    )
    config = SelfplaySettings(
        questions=QuestionSettings(
            domains=("geography/capital", "arithmetic/chain_sum"), per_domain=25, frozen_count=24
        ),
        router=RouterSettings(embedder="wordllama", seeds=1),
        catalogue=str(catalogue),
    )
    with object_store(BUCKET) as store, mlflow_server(tmp_path, store) as mlflow:
        # The cluster that tests share was started before: its processes are told by the address.
        tables = f"s3://tests:tests@{BUCKET}/tables?scheme=http&endpoint_override={store}&region=us-east-1"
        home = Home.open(tmp_path / "home", warehouse_url=tables, mlflow_uri=mlflow)
        run_selfplay(config, home)
        bucket = pafs.S3FileSystem(scheme="http", endpoint_override=store)
        names = [info.path for info in bucket.get_file_info(pafs.FileSelector(BUCKET, recursive=True))]
        assert any(name.startswith(f"{BUCKET}/tables/answers/_manifest/") for name in names)
        assert any(name.startswith(f"{BUCKET}/mlflow/") and name.endswith(ARRAYS) for name in names)
        assert not list((tmp_path / "home").rglob("*.parquet"))
        outcomes = load_outcomes(home.warehouse())
        assert outcomes.experts == ("cheap", "dear")
        answers = home.warehouse().scan("answers", ["question_id", "expert"]).to_pylist()
        assert len(answers) == len({tuple(row.values()) for row in answers}) >= 100
        assert not [found for seen in inspect_tables(home.warehouse()) for found in seen.findings]
