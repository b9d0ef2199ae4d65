"""`leeroo demo` as a person runs it, with fewer questions; then the report of the home that it made."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from tests.pipelines.test_report_page import BROWSER, MOST_BYTES, check_in_browser, check_numbers

# It starts a cluster of its own and takes minutes, so that it runs with `make test-cluster`.
pytestmark = [pytest.mark.e2e, pytest.mark.demo]

#: Lines of libraries, of which a person can do nothing about any.
NOISE = ("core_worker", "metrics exporter", "GGUF", "registered model", "Created version", "FutureWarning")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "home"


@pytest.mark.timeout(1200)
def test_the_demo_ends_with_a_served_answer_and_says_nothing_but_its_own_words(home: Path) -> None:
    program = "from pipelines.cli import main; main()"
    command = [sys.executable, "-c", program, "demo", "--home", str(home), "--per-domain", "7"]
    environment = os.environ | {"COLUMNS": "80"}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=1100)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert [line for line in said.splitlines() if any(noise in line for noise in NOISE)] == []
    assert "Round demo: 56 questions for 2 experts" in done.stdout
    assert len(re.findall(r"Ray and vLLM log to /\S+", done.stdout)) == 1
    assert "Router version 1 is the first champion" in done.stdout
    assert re.search(r"What is the capital of France\?\n\s+(gemma-3-270m|smollm2-135m)\s+\S", done.stdout)
    assert re.search(r"Done in \d+\.\d minutes", done.stdout)


def test_its_report_says_what_its_evaluation_says(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    made = CliRunner().invoke(app, ["report", "--home", str(home), "--out", str(page)])
    assert made.exit_code == 0, made.output
    assert page.stat().st_size < MOST_BYTES
    check_numbers(home, page)
    if BROWSER is not None:
        check_in_browser(page, tmp_path, "demo-report-light", 1200, "light", domain="geography")
