from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.files import FileStore
from warehouse.journal import Journal, claim_journal, delete_journal, list_journals, read_journal

RECORDS = st.lists(
    st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.floats(allow_nan=False), max_size=3),
    max_size=12,
)
PLACES = ["disk", "memory"]


def store(place: str, tmp_path: Path) -> FileStore:
    return FileStore(tmp_path if place == "disk" else f"memory://{tmp_path.name}")


@pytest.mark.parametrize("place", PLACES)
def test_what_is_written_is_read_in_order(place: str, tmp_path: Path) -> None:
    files = store(place, tmp_path)
    journal = Journal(files, "journal/a/b/one")
    journal.write({"n": 0}, wait=False)
    assert list(read_journal(files, journal.name)) == []
    for n in range(1, 5):
        journal.write({"n": n, "text": "half \ud83d, nul \x00, line \u2028"})
        assert [record["n"] for record in read_journal(files, journal.name)] == list(range(n + 1))
    other = Journal(files, "journal/a/c/two")
    other.write({})
    assert list_journals(files, "journal", depth=2) == ["journal/a/b/one", "journal/a/c/two"]
    assert list_journals(files, "journal/a", depth=1) == ["journal/a/b/one", "journal/a/c/two"]
    delete_journal(files, journal.name)
    delete_journal(files, journal.name)
    assert list_journals(files, "journal", depth=2) == ["journal/a/c/two"]
    assert list(read_journal(files, journal.name)) == []


@settings(max_examples=40, deadline=None)
@given(records=RECORDS, cut=st.integers(min_value=0), rubbish=st.binary(max_size=9))
def test_a_torn_end_costs_at_most_its_own_record(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, object]], cut: int, rubbish: bytes
) -> None:
    root = tmp_path_factory.mktemp("torn")
    files = FileStore(root)
    journal = Journal(files, "j/one")
    for record in records:
        journal.write(record)
    journal.close()
    path = root / "j" / "one.jsonl"
    data = path.read_bytes()
    cut %= len(data) + 1
    path.write_bytes(data[:cut] + rubbish)
    whole = data[:cut].count(b"\n")
    found = list(read_journal(files, "j/one"))
    # Rubbish may by chance be the rest of the record that was torn, or one of its own.
    assert found[:whole] == records[:whole]
    assert len(found) <= whole + 1 + rubbish.count(b"\n")


@pytest.mark.parametrize("place", PLACES)
def test_many_threads_flush_together_and_lose_nothing(place: str, tmp_path: Path) -> None:
    files = store(place, tmp_path)
    journal = Journal(files, "j/one")
    seen: list[int] = []

    def write(thread: int) -> None:
        for n in range(25):
            journal.write({"id": 100 * thread + n})
            seen.append(100 * thread + n)

    threads = [threading.Thread(target=write, args=(t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [record["id"] for record in read_journal(files, "j/one")]
    assert sorted(found) == sorted(seen)
    assert len(found) == len(set(found)) == 200
    if place == "memory":
        assert len(files.list("j/one")) <= 200  # what comes together goes together


def test_a_failed_write_leaves_what_follows_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(FileStore(tmp_path), "j/one")
    journal.write({"n": 1})
    write = os.write

    def half_full(descriptor: int, data: bytes) -> int:
        if len(data) < 2:
            raise OSError(28, "No space left on device")
        write(descriptor, bytes(data[: len(data) // 2]))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("warehouse.journal.os.write", half_full)
    with pytest.raises(OSError, match="space"):
        journal.write({"n": 2})
    monkeypatch.undo()
    journal.write({"n": 3})
    assert [record["n"] for record in read_journal(FileStore(tmp_path), "j/one")] == [1, 2, 3]


def test_a_killed_writer_loses_nothing_and_its_journal_can_be_claimed(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom warehouse.files import FileStore\nfrom warehouse.journal import Journal\n"
        f"journal = Journal(FileStore({str(tmp_path)!r}), 'j/one')\n"
        "journal.write({'n': 1})\nprint('written', flush=True)\ntime.sleep(60)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        files = FileStore(tmp_path)
        with claim_journal(files, "j/one") as is_free:
            assert not is_free
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    with claim_journal(files, "j/one") as is_free:
        assert is_free
        with claim_journal(files, "j/one") as again:
            assert not again  # one at a time takes it in
    assert list(read_journal(files, "j/one")) == [{"n": 1}]
    assert (tmp_path / "j" / "one.jsonl").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "j" / "one.jsonl").read_text()) == {"n": 1}
    with claim_journal(files, "j/gone") as is_free:
        assert not is_free
