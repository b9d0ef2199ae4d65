"""Bad input as a person meets it: one clear message, exit code 2, nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PRICE = ", price: {usd_per_mtok_in: 1, usd_per_mtok_out: 1}"
MODEL = "bundled:smollm2-135m-instruct"
GOOD = f"experts:\n  - {{name: tiny, backend: vllm, model: '{MODEL}'{PRICE}}}\n"


def leeroo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    root = Path(__file__).parents[2]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=root)


@pytest.mark.parametrize(
    ("catalogue", "words"),
    [
        (GOOD.replace("backend: vllm", "backend: vllm, colour: red"), ["line 2", "colour"]),
        (GOOD.replace(PRICE, ""), ["line 2", "price"]),
        (GOOD + GOOD.splitlines()[1] + "\n", ["line 3", "tiny"]),
        (GOOD.replace(MODEL, "/no/such/model"), ["tiny", "/no/such/model"]),
        ("", ["empty"]),
    ],
)
def test_a_bad_catalogue_is_refused(tmp_path: Path, catalogue: str, words: list[str]) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(catalogue)
    run = leeroo("selfplay", "--home", str(tmp_path / "home"), "--catalogue", str(path))
    assert run.returncode == 2, run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    for word in ["catalogue.yaml", "To fix it", *words]:
        assert word in run.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("q.jsonl", b'{"prompt": "1+1?", "answer": "2"}\n{"prompt": "2+2?"}\n', ["line 2", "answer"]),
        ("q.jsonl", b"", ["no question"]),
        ("q.jsonl", b'{"prompt": "1+1?", ', ["line 1"]),
        ("q.parquet", b"this is not parquet", ["Parquet"]),
    ],
)
def test_bad_questions_are_refused(tmp_path: Path, name: str, content: bytes, words: list[str]) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for command in (["import", "questions", str(path)], ["selfplay", "--questions", str(path)]):
        run = leeroo(*command, "--home", str(tmp_path / "home"))
        assert run.returncode == 2, run.stderr
        for word in [name, "To fix it", *words]:
            assert word.lower() in run.stderr.lower()
        assert not (tmp_path / "home").exists()


def test_questions_are_imported_and_queried(tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    pq.write_table(
        pa.table({"prompt": ["1+1?", "2+2?"], "answer": ["2", "4"], "domain": ["sums", "sums"]}), path
    )
    home = ["--home", str(tmp_path / "home")]
    assert "2 questions, 2 new" in leeroo("import", "questions", str(path), *home).stdout
    assert "2 questions, 0 new" in leeroo("import", "questions", str(path), *home).stdout
    again = path.rename(tmp_path / "renamed.parquet")
    told = leeroo("import", "questions", str(again), *home).stdout
    assert "2 of 2 there already stood under the source 'q'; they are now under 'renamed'" in told
    run = leeroo("sql", "select domain, round, count(*) n from questions group by all", *home, "-o", "csv")
    assert run.stdout.split() == ["domain,round,n", "sums,imported,2"]
    wrong = leeroo("sql", "select nothing from questions", *home)
    assert wrong.returncode == 2
    assert "nothing" in wrong.stderr


def test_sql_on_an_empty_home_has_every_view(tmp_path: Path) -> None:
    for view in ("questions", "answers", "traffic", "feedback", "decisions", "outcomes", "labels"):
        run = leeroo("sql", f"select count(*) n from {view}", "--home", str(tmp_path), "-o", "csv")
        assert run.stdout.split() == ["n", "0"], run.stderr


def test_a_round_as_a_ray_job_is_the_same_command(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pipelines.selfplay",
        "--catalogue",
        "nope.yaml",
        "--home",
        str(tmp_path),
    ]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=root)
    assert run.returncode == 2, run.stderr
    assert "nope.yaml" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
