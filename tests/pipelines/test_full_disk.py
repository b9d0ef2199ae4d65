"""A disk that is really full: one message, soon; nothing is lost or there twice once there is room again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.ledger.ledger import LEDGER_FILE, Ledger
from tests.pipelines.recorded_home import import_recorded
from warehouse import Warehouse
from warehouse.files import FileStore
from warehouse.home import Home
from warehouse.journal import Journal, read_journal
from warehouse.mlflow_store import open_store

ROOT = Path(__file__).parents[2]
SOON_S = 5.0


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own, of 2 MB or as many as the test's parameter says."""
    place = tmp_path / "disk"
    place.mkdir()
    mount, size = shutil.which("mount"), f"size={getattr(request, 'param', 2)}m"
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", size, "tmpfs", place], check=False).returncode
    ):
        pytest.skip("a file system can be mounted by root alone")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path, left: int) -> Path:
    """Fill the disk up to so many bytes."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - left)))
    return ballast


def leeroo(home: Path, *arguments: str | Path) -> tuple[int, str, float]:
    """Run a command; exit code, what it says of errors, and CPU seconds of it: other work must not count."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LEEROO_", "MLFLOW_"))
    }
    before = sum(os.times()[2:4])
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *map(str, arguments), "--home", home],
        capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stderr, sum(os.times()[2:4]) - before


def told(home: Path, *arguments: str | Path) -> str:
    began = time.monotonic()
    code, message, busy_s = leeroo(home, *arguments)
    assert code == 2, message
    assert len(message.strip().splitlines()) == 1, message
    assert "full" in message
    assert time.monotonic() - began < SOON_S + 20 * busy_s
    return message


def many_questions(path: Path, count: int = 6_000) -> Path:
    lines = (json.dumps({"prompt": f"{n}: {os.urandom(60).hex()}?", "answer": str(n)}) for n in range(count))
    path.write_text("\n".join(lines))
    return path


def test_an_import_into_a_full_disk(tmp_path: Path, disk: Path) -> None:
    home, few, many = disk / "home", tmp_path / "few.jsonl", many_questions(tmp_path / "many.jsonl")
    few.write_text("\n".join(many.read_text().splitlines()[:10]))
    assert leeroo(home, "import", "questions", few)[0] == 0
    ballast = fill(disk, 0)
    assert "To fix it" in told(home, "import", "questions", many)
    store = Warehouse(home / "warehouse")
    assert {row["source"] for row in store.scan("questions").to_pylist()} == {"few"}
    assert store.scan("questions").num_rows == 10
    ballast.unlink()
    assert leeroo(home, "import", "questions", many)[0] == 0
    rows = Warehouse(home / "warehouse").scan("questions")
    assert rows.num_rows == len(set(rows["question_id"].to_pylist())) == 6_000
    assert leeroo(home, "warehouse", "check")[0] == 0


def test_a_key_on_a_full_disk(disk: Path) -> None:
    home = disk / "home"
    assert leeroo(home, "keys", "create", "first")[0] == 0
    ballast = fill(disk, 0)
    told(home, "keys", "create", "second")
    ballast.unlink()
    assert [key.name for key in Ledger(home / LEDGER_FILE).list_keys()] == ["first"]
    assert leeroo(home, "keys", "create", "second")[0] == 0
    assert [key.name for key in Ledger(home / LEDGER_FILE).list_keys()] == ["first", "second"]


def test_the_journal_of_paid_calls_on_a_full_disk(disk: Path) -> None:
    """A call that cannot be written down is not made; what was written before, and after, is read."""
    journal = Journal(FileStore(disk), "j/one")
    ballast = fill(disk, 20_000)
    written = 0

    def write_until_full() -> None:
        nonlocal written
        for number in range(10_000):
            journal.write({"n": number, "answer": "x" * 100})
            written += 1

    with pytest.raises(OSError, match="space"):
        write_until_full()
    ballast.unlink()
    journal.write({"n": "after"})
    kept = [record["n"] for record in read_journal(FileStore(disk), "j/one")]
    assert written > 10
    assert kept[:written] == list(range(written))
    assert kept[-1] == "after"
    assert len(kept) <= written + 2  # the one that failed may have been written out with the one after it


@pytest.mark.parametrize("disk", [24], indirect=True)
def test_a_training_on_a_full_disk(tmp_path: Path, disk: Path) -> None:
    """First there is no room for all of the database of the runs, then for it and not for a version."""
    home = disk / "home"
    import_recorded(tmp_path, home)
    options = ("train", "--predictor", "knn", "--embedder", "wordllama", "--seeds", "1")
    ballast = fill(disk, 300_000)
    told(home, *options)
    ballast.unlink()
    open_store(Home.open(home).mlflow_uri)
    ballast = fill(disk, 20_000)
    told(home, *options)
    ballast.unlink()
    code, message, _ = leeroo(home, *options)
    assert code == 0, message
    (tmp_path / "asked.txt").write_text("Question 1 of algebra?")
    code, message, _ = leeroo(home, "route", tmp_path / "asked.txt", "--out", tmp_path / "routed.jsonl")
    assert code == 0, message
