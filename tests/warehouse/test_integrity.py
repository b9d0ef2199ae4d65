"""What was written is there, or it is told: flipped bytes, lost files, lost entries."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse import CannotRunError, InputError, Warehouse
from warehouse.files import FileStore
from warehouse.keeping.integrity import inspect_tables, mend
from warehouse.keys import SMALL_ROWS
from warehouse.manifest import ManifestEntry


def rows(first: int, count: int) -> pa.Table:
    names = [f"q{number}" for number in range(first, first + count)]
    return pa.table(
        {"question_id": names, "prompt": names, "source": ["s"] * count, "domain": ["d"] * count,
         "kind": ["exact"] * count, "answer": ["x"] * count, "round": ["r"] * count}
    )  # fmt: skip


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    store = Warehouse(tmp_path / "warehouse")
    for start in (0, 50, 100):
        store.append("questions", rows(start, 50), round="r")
    return store


def data_files(warehouse: Warehouse) -> list[Path]:
    return sorted(Path(warehouse.url).glob("questions/round=*/*.parquet"))


def findings(warehouse: Warehouse) -> list[tuple[str, str]]:
    return [(f.kind, f.path) for seen in inspect_tables(Warehouse(warehouse.url)) for f in seen.findings]


def commit_of(warehouse: Warehouse, entry: ManifestEntry) -> Path:
    """The file that says that a data file counts."""
    (found,) = [
        path
        for path in (Path(warehouse.url) / "questions" / "_manifest").glob("*.json")
        if entry.path in path.read_text()
    ]
    return found


def age(path: Path) -> None:
    """Make a file older than one that is just being written."""
    os.utime(path, (time.time() - 600, time.time() - 600))


def test_a_whole_warehouse_is_whole(warehouse: Warehouse) -> None:
    seen = {inspection.table: inspection for inspection in inspect_tables(warehouse)}
    assert (seen["questions"].files, seen["questions"].rows, seen["questions"].unchecked) == (3, 150, 0)
    assert findings(warehouse) == []


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_every_flipped_byte_is_found_and_never_read(tmp_path_factory, share: float, bit: int) -> None:
    store = Warehouse(tmp_path_factory.mktemp("w"))
    store.append("questions", rows(0, 50), round="r")
    (path,) = data_files(store)
    whole = path.read_bytes()
    place = int(share * len(whole))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
    assert [kind for kind, _ in findings(store)] == ["damaged"]
    before = rows(0, 50)["prompt"].to_pylist()
    try:
        read = Warehouse(store.url).scan("questions", ["prompt"])["prompt"].to_pylist()
    except InputError:
        return  # told, which is one right way
    assert read == before  # the bit was in a column that nobody asked for


def test_lost_entries_are_found_kept_and_taken_in_again(warehouse: Warehouse) -> None:
    lost = warehouse.files("questions")[1]
    path = Path(warehouse.url) / lost.path
    commit_of(warehouse, lost).unlink()
    age(path)
    assert findings(warehouse) == [("uncounted", lost.path)]
    os.utime(path, (1, 1))
    Warehouse(warehouse.url).compact("questions")  # removes what was replaced, not what was lost
    fresh = Warehouse(warehouse.url)
    assert path.exists()
    assert fresh.scan("questions").num_rows == 100
    for seen in inspect_tables(fresh):
        for finding in seen.findings:
            assert "50 of 50" in mend(fresh, finding)
    assert findings(warehouse) == []
    assert Warehouse(warehouse.url).scan("questions").num_rows == 150


def test_an_entry_that_was_lost_a_moment_ago_is_found_while_others_write(warehouse: Warehouse) -> None:
    lost = warehouse.files("questions")[1]
    commit_of(warehouse, lost).unlink()
    writer = threading.Thread(
        target=lambda: [
            Warehouse(warehouse.url).append("questions", rows(200 + i, 1), round="w") for i in range(20)
        ]
    )
    writer.start()
    while writer.is_alive():  # what is being written is not taken for lost
        assert findings(Warehouse(warehouse.url)) == [("uncounted", lost.path)]
    writer.join()


def test_damaged_and_lost_files_are_set_aside_and_asked_anew(warehouse: Warehouse) -> None:
    first, second, _ = data_files(warehouse)
    first.write_bytes(first.read_bytes()[:-20])
    second.unlink()
    assert sorted(kind for kind, _ in findings(warehouse)) == ["damaged", "lost"]
    with pytest.raises(InputError, match="warehouse check"):
        Warehouse(warehouse.url).scan("questions")
    for seen in inspect_tables(warehouse):
        for finding in seen.findings:
            mend(warehouse, finding)
    fresh = Warehouse(warehouse.url)
    assert fresh.scan("questions").num_rows == 50
    assert fresh.append("questions", rows(0, 150), round="r") == 100
    assert findings(warehouse) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"path": 1}', b'"text"', b"\xff\xfe"])
def test_a_damaged_entry_is_named_and_its_rows_come_back(warehouse: Warehouse, content: bytes) -> None:
    entry = next((Path(warehouse.url) / "questions" / "_manifest").glob("*.json"))
    entry.write_bytes(content)
    with pytest.raises(InputError, match=rf"{entry.name}.*manifest entry is damaged"):
        Warehouse(warehouse.url).scan("questions")
    for path in data_files(warehouse):
        age(path)
    for _ in range(2):  # first the entry is set aside, then its file taken in
        store = Warehouse(warehouse.url)
        for seen in inspect_tables(store):
            for finding in seen.findings:
                mend(store, finding)
    assert findings(warehouse) == []
    assert Warehouse(warehouse.url).scan("questions").num_rows == 150


def test_entries_of_other_versions(warehouse: Warehouse) -> None:
    entries = sorted((Path(warehouse.url) / "questions" / "_manifest").glob("*.json"))
    old, newer = json.loads(entries[0].read_text()), json.loads(entries[1].read_text())
    del old["files"][0]["sha256"]
    entries[0].write_text(json.dumps(old))
    assert [i.unchecked for i in inspect_tables(Warehouse(warehouse.url)) if i.table == "questions"] == [1]
    entries[1].write_text(json.dumps(newer | {"colour": "red"}))
    with pytest.raises(InputError, match=r"newer version .*colour"):
        Warehouse(warehouse.url).scan("questions")


@pytest.mark.parametrize(
    "field", [{"path": None}, {"path": "../../x"}, {"rows": -1}, {"schema": "x"}, {"round": 5}, {"expert": 1}]
)
def test_an_entry_whose_fields_cannot_be_right_is_damaged_and_mended(warehouse: Warehouse, field) -> None:
    entry = next((Path(warehouse.url) / "questions" / "_manifest").glob("*.json"))
    body = json.loads(entry.read_text())
    entry.write_text(json.dumps(body | {"files": [body["files"][0] | field]}))
    (entry.parent / "._copied.json").write_bytes(b"\0\5\x16\7")  # what a Mac leaves beside a copied file
    (found,) = [f for seen in inspect_tables(Warehouse(warehouse.url)) for f in seen.findings]
    assert (found.kind, found.path) == ("entry", f"questions/_manifest/{entry.name}")
    mend(Warehouse(warehouse.url), found)
    assert not entry.exists()


def test_a_clock_that_went_back_is_told_before_anything_is_written(warehouse: Warehouse) -> None:
    entry = next((Path(warehouse.url) / "questions" / "_manifest").glob("*.json"))
    os.utime(entry, (time.time() + 7_200, time.time() + 7_200))
    with pytest.raises(CannotRunError, match=r"clock is 1[12]. minutes behind"):
        Warehouse(warehouse.url).append("questions", rows(500, 1), round="r")
    assert Warehouse(warehouse.url).scan("questions").num_rows == 150


@pytest.mark.parametrize("inside", [[], ["notes.txt"], ["deep/er/notes.txt", "x.bin"]])
def test_a_folder_in_place_of_a_data_file_is_moved_aside(warehouse: Warehouse, inside: list[str]) -> None:
    """As a copy or a sync that went wrong leaves one; what lies in it is kept, and twice is no trouble."""
    for _ in range(2):
        path = data_files(warehouse)[0]
        kept = rows(0, 150).filter(pa.array([True] * 150))
        path.unlink()
        for name in inside:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text("kept")
        path.mkdir(exist_ok=True)
        found = [f for seen in inspect_tables(Warehouse(warehouse.url)) for f in seen.findings]
        assert [(f.kind, f.path.endswith(path.name)) for f in found] == [("damaged", True)]
        assert mend(Warehouse(warehouse.url), found[0]).startswith("set aside")
        assert findings(warehouse) == []
        assert Warehouse(warehouse.url).scan("questions").num_rows == 100
        assert Warehouse(warehouse.url).append("questions", kept, round="r") == 50
    aside = list(Path(warehouse.url).glob("questions/_set_aside/*.bin*/**/*.txt"))
    assert len(aside) == 2 * len([name for name in inside if name.endswith(".txt")])


@pytest.mark.parametrize("which", [0, -1])
def test_a_folder_in_place_of_a_commit_is_passed_over(warehouse: Warehouse, which: int) -> None:
    entry = sorted(Path(warehouse.url).glob("questions/_manifest/*.json"))[which]
    entry.unlink()
    entry.mkdir()
    found = [f for seen in inspect_tables(Warehouse(warehouse.url)) for f in seen.findings]
    assert [f.kind for f in found] == ["uncounted"]
    assert mend(Warehouse(warehouse.url), found[0]) == "taken in: 50 of 50 rows were missing"
    assert findings(warehouse) == []


def test_what_cannot_be_put_right_is_told(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: what waits stays as it is, and the check goes on."""
    (entry, *_) = sorted(Path(warehouse.url).glob("questions/_manifest/*.json"))
    entry.unlink()
    found = [f for seen in inspect_tables(Warehouse(warehouse.url)) for f in seen.findings]
    with monkeypatch.context() as full:
        full.setattr(FileStore, "write", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        assert mend(Warehouse(warehouse.url), found[0]) == "left as it is: no space left"
    assert mend(Warehouse(warehouse.url), found[0]) == "taken in: 50 of 50 rows were missing"
    assert findings(warehouse) == []


def test_a_commit_of_a_newer_format_is_told_and_left(warehouse: Warehouse) -> None:
    entry = sorted(Path(warehouse.url).glob("questions/_manifest/*.json"))[1]
    whole = json.dumps(json.loads(entry.read_text()) | {"format": 3})
    entry.write_text(whole)
    for act in (
        lambda store: store.scan("questions"),
        lambda store: store.append("questions", rows(0, 10), round="r"),
        lambda store: store.compact("questions"),
    ):
        with pytest.raises(InputError, match=r"newer version wrote this entry \(its format is 3"):
            act(Warehouse(warehouse.url))
    (found,) = [f for seen in inspect_tables(Warehouse(warehouse.url)) for f in seen.findings]
    assert found.kind == "newer"
    assert mend(Warehouse(warehouse.url), found).startswith("left as it is: use the version")
    assert entry.read_text() == whole


def test_damaged_digests_are_found_and_made_anew(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    count = SMALL_ROWS + 10
    store.append("questions", rows(0, count), round="r")
    (digests,) = tmp_path.glob("questions/_keys/*.npy")
    whole = digests.read_bytes()
    for content in (whole[:-5], whole[:-16], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        digests.write_bytes(content)
        assert findings(store) == [("keys", str(digests.relative_to(tmp_path)))]
        for seen in inspect_tables(store):
            for finding in seen.findings:
                mend(store, finding)
        assert findings(store) == []
        assert Warehouse(tmp_path).append("questions", rows(0, count), round="r") == 0
        assert digests.read_bytes() == whole
