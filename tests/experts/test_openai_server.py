"""The API backend against vLLM's own OpenAI-compatible server, running the smaller bundled model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from experts import (
    BUDGET_SPENT,
    ExpertSpec,
    SpendCap,
    answer_and_grade,
    backend_env,
    build_backend,
    has_error,
    load_catalogue,
    resolve_model,
)
from tests.ports import free_port

START_S = 400


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    spec = load_catalogue().get("smollm2-135m")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(resolve_model(spec)),
    ]
    command += ["--served-model-name", "smollm2", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "512"]
    log = Path(tmp_path_factory.mktemp("server")) / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | backend_env(spec),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_S
            while not _healthy(port):
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def spec_for(url: str, **fields: object) -> ExpertSpec:
    price = {"usd_per_mtok_in": 1.0, "usd_per_mtok_out": 1.0}
    base = {"name": "api", "backend": "openai", "model": "smollm2", "base_url": url, "price": price}
    return ExpertSpec.model_validate(base | {"timeout_s": 300, "concurrency": 4} | fields)


@pytest.mark.e2e
def test_letters_generation_and_refusals(server_url: str, questions_of) -> None:
    questions = questions_of(
        [
            {"prompt": "What is the capital of France?", "choices": ["Rome", "Paris"], "answer": "1"},
            {"prompt": "What is the capital of Italy?", "answer": "Rome"},
            {"prompt": "word " * 2000, "answer": "x"},
        ]
    )
    spec = spec_for(server_url, scoring="letter", max_tokens=12)
    scored, free, refused = answer_and_grade(
        build_backend(spec), spec, questions, round="r", run_id="i"
    ).to_pylist()
    assert scored["error"] is None
    assert len(scored["choice_logprobs"]) == 2
    assert scored["completion_tokens"] == 1
    assert scored["prompt_tokens"] > 20
    assert "Rome" in free["text"]
    assert 0 < free["completion_tokens"] <= 12
    assert refused["error"].startswith("context_length_exceeded: ")
    assert refused["score"] is None

    generating = spec_for(server_url, scoring="generate", max_tokens=16)
    rows = answer_and_grade(
        build_backend(generating), generating, questions.slice(0, 1), round="r", run_id="i"
    )
    assert rows["error"][0].as_py() is None
    assert rows["score"][0].as_py() in (0.0, 1.0)
    unknown = spec_for(server_url, model="other")
    rows = answer_and_grade(build_backend(unknown), unknown, questions.slice(0, 1), round="r", run_id="i")
    assert rows["error"][0].as_py().startswith("model_gone: ")


@pytest.mark.e2e
def test_a_cap_holds_against_a_real_server(server_url: str, questions_of) -> None:
    questions = questions_of([{"prompt": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(24)])
    spec = spec_for(server_url, max_tokens=8, requests_per_min=1000)
    backend = build_backend(spec)
    cap = SpendCap(1.0)
    rows = answer_and_grade(backend, spec, questions, round="r", run_id="i", purse=cap)
    assert rows["error"].null_count == 24
    cost_usd = sum(rows["cost_usd"].to_pylist())
    assert cap.spent_usd() == pytest.approx(cost_usd)  # every token that the server counted, no more
    tight = SpendCap(0.5 * cost_usd)
    rows = answer_and_grade(backend, spec, questions, round="r", run_id="i", purse=tight)
    unpaid = has_error(rows, BUDGET_SPENT).to_pylist()
    assert 0 < sum(unpaid) < 24
    assert 0 < tight.spent_usd() <= 0.5 * cost_usd
    assert tight.spent_usd() == pytest.approx(sum(c or 0.0 for c in rows["cost_usd"].to_pylist()))
