"""A round whose tables and whose MLflow's files lie on an S3-compatible server."""

from __future__ import annotations

import json
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

from tests.object_store import object_store
from tests.ports import free_port
from warehouse import Warehouse, load_outcomes

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
            env=os.environ | {"MLFLOW_S3_ENDPOINT_URL": f"http://{store}"},
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


def leeroo(*arguments: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(900)
def test_a_round_and_its_router_live_on_the_object_store(
    tmp_path: Path, scripted_server: Callable[[Callable[[str, str], str]], str]
) -> None:
    """From one folder the round is run; a home that is empty and has the same stores routes and goes on."""
    url = scripted_server(script)
    (tmp_path / "catalogue.yaml").write_text(
        "experts:\n"
        + "".join(
            f"  - {{name: {name}, backend: openai, model: {name}, base_url: '{url}', scoring: generate,"
            f" price: {{usd_per_mtok_in: {price}, usd_per_mtok_out: {price}}}}}\n"
            for name, price in (("cheap", 1), ("dear", 5))
        )
    )
    with object_store(BUCKET) as store, mlflow_server(tmp_path, store) as mlflow:
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {
            "LEEROO_WAREHOUSE": f"s3://{BUCKET}/tables",
            "MLFLOW_TRACKING_URI": mlflow,
            "AWS_ENDPOINT_URL": f"http://{store}",
        }
        round_of = [
            *("selfplay", "--catalogue", str(tmp_path / "catalogue.yaml"), "--domain", "geography/capital"),
            *("--domain", "arithmetic/chain_sum", "--per-domain", "25", "--frozen-questions", "24"),
        ]
        leeroo(*round_of, "--home", str(tmp_path / "home"), environment=environment)
        names = [
            info.path.split("/", 1)[1]
            for info in pafs.S3FileSystem(scheme="http", endpoint_override=store).get_file_info(
                pafs.FileSelector(BUCKET, recursive=True)
            )
            if info.is_file
        ]
        assert any(name.startswith("tables/answers/_manifest/") for name in names)
        assert any(name.startswith("mlflow/") and name.endswith("states.safetensors") for name in names)
        assert not list((tmp_path / "home").rglob("*.parquet"))
        tables = Warehouse(f"s3://{BUCKET}/tables?scheme=http&endpoint_override={store}")
        outcomes = load_outcomes(tables)
        assert outcomes.experts == ("cheap", "dear")
        answers = tables.scan("answers", ["question_id", "expert"]).to_pylist()
        assert len(answers) == len({tuple(row.values()) for row in answers}) >= 100

        elsewhere = ["--home", str(tmp_path / "elsewhere")]
        (tmp_path / "queries.txt").write_text("What is the capital of Peru?\nWhat is 2 + 3?\n")
        leeroo("route", str(tmp_path / "queries.txt"), *elsewhere, environment=environment)
        routed = (tmp_path / "queries.routed.jsonl").read_text().splitlines()
        assert [json.loads(line)["expert"] in ("cheap", "dear") for line in routed] == [True, True]
        leeroo("warehouse", "check", *elsewhere, environment=environment)  # exits with 1 where one differs
