"""The tables on an S3-compatible server that the tests start: several writers, kills, merges."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import warehouse.table
from tests.object_store import object_store
from tests.warehouse.killed_steps import killed_at
from warehouse import Warehouse, load_outcomes
from warehouse.files import FileStore
from warehouse.keeping.integrity import Finding, inspect_tables, mend

pytestmark = pytest.mark.cluster
BUCKET = "leeroo-tables"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with object_store(BUCKET) as address:
        yield address


@pytest.fixture
def url(server: str) -> str:
    return f"s3://{BUCKET}/{uuid.uuid4().hex}?scheme=http&endpoint_override={server}"


def rows_of(numbers: range | list[int]) -> pa.Table:
    ids = [f"q{number:05}" for number in numbers]
    count = len(ids)
    return pa.table(
        {
            "question_id": ids,
            "expert": ["x"] * count,
            "expert_version": ["v1"] * count,
            "score": pa.array([1.0] * count, pa.float32()),
        }
    )


def read(url: str) -> list[int]:
    return sorted(int(name[1:]) for name in Warehouse(url).scan("answers")["question_id"].to_pylist())


def findings(url: str) -> list[str]:
    return [found.kind for seen in inspect_tables(Warehouse(url)) for found in seen.findings]


def test_a_number_is_taken_once(url: str) -> None:
    files = FileStore(url)
    assert files.create("a/1.json", b"one")
    assert not files.create("a/1.json", b"two")
    assert files.read("a/1.json") == b"one"


#: A writer: appends what it is given in batches, and prints how many rows were new.
WRITER = """
import json, sys
import pyarrow as pa
from warehouse import Warehouse
url, batches = json.loads(sys.argv[1])
store = Warehouse(url)
written = 0
for batch in batches:
    ids = [f"q{number:05}" for number in batch]
    rows = {"question_id": ids, "expert": ["x"] * len(ids), "expert_version": ["v1"] * len(ids)}
    written += store.append("answers", pa.table(rows), round="r0", expert="x")
print(written)
"""


def test_writers_at_once_write_each_key_once(url: str) -> None:
    """Three processes with the same keys in other orders: who comes second writes what is still new."""
    numbers = list(range(40))
    jobs = [(numbers, 7), (numbers[::-1], 5), (numbers[20:] + numbers[:20], 6)]
    writers = []
    for order, size in jobs:
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        arguments = [sys.executable, "-c", WRITER, json.dumps([url, batches])]
        writers.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True))
    written = [int(writer.communicate(timeout=120)[0]) for writer in writers]
    assert sum(written) == 40
    assert read(url) == numbers
    assert findings(url) == []


@pytest.mark.parametrize("is_before", [True, False])
def test_a_writer_killed_between_data_and_commit_loses_nothing(url: str, is_before: bool) -> None:
    Warehouse(url).append("answers", rows_of(range(3)), round="r0", expert="x")
    with killed_at(0, is_before=is_before):  # at its data
        Warehouse(url).append("answers", rows_of(range(6)), round="r0", expert="x")
    assert read(url) == [0, 1, 2]
    assert Warehouse(url).append("answers", rows_of(range(6)), round="r0", expert="x") == 3
    assert read(url) == list(range(6))


def test_rows_whose_writer_died_before_its_commit_are_found_and_taken_in(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(FileStore, "create", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Warehouse(url).append("answers", rows_of(range(5)), round="r0", expert="x")
    assert read(url) == []
    assert findings(url) == []  # it may be writing still
    time.sleep(1.1)  # the store tells times in seconds
    store = Warehouse(url)
    (found,) = [found for path in store.uncounted("answers", writing_s=0.5) for found in [path]]
    assert found.startswith("answers/round=r0/expert=x/")
    store.append("answers", rows_of([3, 4, 5]), round="r0", expert="x")
    for seen in inspect_tables_now(url, monkeypatch):
        assert "3 of 5 rows were missing" in mend(Warehouse(url), seen)
    assert read(url) == list(range(6))
    assert findings(url) == []


def inspect_tables_now(url: str, patch: pytest.MonkeyPatch) -> list[Finding]:
    """What a check finds once nothing counts as just being written any more."""
    real = Warehouse.uncounted
    with patch.context() as later:
        later.setattr(Warehouse, "uncounted", lambda self, name: real(self, name, writing_s=0.5))
        return [found for seen in inspect_tables(Warehouse(url)) for found in seen.findings]


def test_merging_while_another_writes_loses_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouse.table, "PILE_FILES", 3)
    first, second = Warehouse(url), Warehouse(url)
    for number in range(0, 12, 2):
        first.append("answers", rows_of([number]), round="r0", expert="x")
        second.append("answers", rows_of([number, number + 1]), round="r0", expert="x")
    real, due = FileStore.create, [lambda: second.append("answers", rows_of([99]), round="r0", expert="x")]

    def create(self: FileStore, name: str, data: bytes) -> bool:
        if due:
            due.pop()()
        return real(self, name, data)

    monkeypatch.setattr(FileStore, "create", create)
    first.compact("answers")
    ids = pa.array(["q00003"])
    taken = first.take_out("answers", lambda rows: pc.is_in(rows["question_id"], ids), by=["question_id"])
    assert taken == 1
    assert read(url) == [*(number for number in range(12) if number != 3), 99]
    assert findings(url) == []


def test_digests_of_a_large_file_are_fetched_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Warehouse(url).append("answers", rows_of(range(9_000)), round="r0", expert="x")
    fetched: list[str] = []
    real = FileStore.read
    monkeypatch.setattr(FileStore, "read", lambda self, name: fetched.append(name) or real(self, name))
    store = Warehouse(url)
    for start in (8_990, 9_005):
        store.append("answers", rows_of(range(start, start + 20)), round="r0", expert="x")
    assert sum(name.endswith(".npy") for name in fetched) == 1
    assert not any(name.endswith(".parquet") for name in fetched)
    assert read(url) == list(range(9_025))


def test_outcomes_come_from_the_store(url: str) -> None:
    store = Warehouse(url)
    questions = pa.table(
        {
            "question_id": [f"q{number:05}" for number in range(4)],
            "source": ["made"] * 4,
            "domain": ["sums"] * 4,
            "prompt": [f"what is {number}?" for number in range(4)],
            "answer": ["x"] * 4,
            "kind": ["exact"] * 4,
        }
    )
    store.append("questions", questions, round="r0")
    store.append("answers", rows_of(range(4)), round="r0", expert="x")
    assert load_outcomes(Warehouse(url)).score.tolist() == [[1.0]] * 4


def test_the_environment_names_the_store(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As people point to MinIO and others: both libraries that write follow it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server}")
    plain = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    for numbers in (range(5), range(3, 8)):
        Warehouse(plain).append("answers", rows_of(numbers), round="r0", expert="x")
    assert read(plain) == list(range(8))
    assert findings(plain) == []


def test_a_store_that_does_not_answer_is_told_soon() -> None:
    from tests.ports import free_port
    from warehouse import InputError

    with pytest.raises(InputError, match="does not answer"):
        Warehouse(f"s3://{BUCKET}/x?scheme=http&endpoint_override=127.0.0.1:{free_port()}")
