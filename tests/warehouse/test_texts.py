"""Texts are kept whole or not at all, given back to who has the key, and gone when they are to go."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse import CannotRunError, InputError
from warehouse.traffic.redaction import check_redaction, make_redact
from warehouse.traffic.sealing import KEY_FILE_VARIABLE, KEY_VARIABLE, Seal, make_key, read_seal
from warehouse.traffic.segments import list_segments
from warehouse.traffic.selection import Selection
from warehouse.traffic.text_writer import MOST_WAITING_BYTES, TextWriter
from warehouse.traffic.texts import RecordedText, TextStore

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.delenv(KEY_FILE_VARIABLE, raising=False)


def text_of(
    number: int, words: str = "", *, key: str = "k0", user: str = "u0", age_h: float = 0
) -> RecordedText:
    said = words or f"unusualword{number:04}"
    return RecordedText(
        f"req-{number}",
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": said}],
        f"answer to {said}",
        "gpt",
        key,
        user,
        NOW - timedelta(hours=age_h),
    )


def words_on_disk(home: Path) -> str:
    return "".join(path.read_bytes().decode("latin-1") for path in home.rglob("*") if path.is_file())


texts = st.builds(
    text_of,
    st.integers(0, 30),
    st.text(st.characters(codec=None), max_size=80),  # lone surrogates, line breaks and nulls too
    key=st.sampled_from(["k0", "k1"]),
    user=st.sampled_from(["u0", "u1"]),
    age_h=st.integers(0, 24 * 4),
)
selections = st.builds(
    Selection,
    st.frozensets(st.integers(0, 30).map("req-{}".format), max_size=5),
    st.sampled_from([None, "k1"]),
    st.sampled_from([None, "u1"]),
    st.integers(0, 24 * 4).map(lambda hours: NOW - timedelta(hours=hours)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(texts, max_size=5), max_size=5), selections, st.booleans(), st.binary(max_size=40))
def test_what_is_written_comes_back_but_for_what_was_forgotten(
    batches: list[list[RecordedText]], selection: Selection, is_sealed: bool, torn: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home, seal = Path(folder), Seal([make_key()]) if is_sealed else None
        expected: dict[str, RecordedText] = {}
        for batch in batches:  # a process each
            store = TextStore(home, seal)
            store.append(batch)
            store.close()
        for path in list_segments(home / "traffic" / "texts"):  # of one day after the other, oldest first
            with path.open("ab") as file:  # it was killed as it wrote on
                file.write(torn.replace(b"\n", b" "))
        written = sorted(
            (t.created_at.date(), at, i) for at, b in enumerate(batches) for i, t in enumerate(b)
        )
        for _, at, i in written:
            expected[batches[at][i].request_id] = batches[at][i]
        store = TextStore(home, seal)
        assert store.read(expected) == expected
        kept = {
            name: text
            for name, text in expected.items()
            if not selection.holds({**vars(text), "request_id": name})
        }
        store.forget(selection)
        again = TextStore(home, seal)
        found = again.read(expected)
        assert kept.items() <= found.items()
        assert all(not selection.holds({**vars(text)}) for text in found.values())
        assert again.forget(selection) == 0


def test_plain_words_are_gone_from_the_disk_and_torn_ones_with_them(tmp_path: Path) -> None:
    store = TextStore(tmp_path)
    store.append([text_of(1), text_of(2)])
    store.close()
    (path,) = list_segments(store.folder)
    with path.open("ab") as file:
        file.write(b'{"request_id": "req-3", "text": {"messages": [{"content": "unusualword0003')
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert TextStore(tmp_path).forget(Selection(frozenset({"req-1"}))) == 1
    left = words_on_disk(tmp_path)
    assert "unusualword0002" in left
    assert "unusualword0001" not in left
    assert "unusualword0003" not in left, "what was cut short may be anybody's: it goes too"
    assert TextStore(tmp_path).forget(Selection(key_id="k0")) == 1
    assert not list_segments(store.folder)


def test_forgetting_beside_a_writer_takes_nothing_from_it(tmp_path: Path) -> None:
    store, ends = TextStore(tmp_path), threading.Event()

    def write() -> None:
        for start in range(0, 600, 3):
            store.append([text_of(n, key=f"k{n % 2}") for n in range(start, start + 3)])
        ends.set()

    writer = threading.Thread(target=write)
    writer.start()
    beside, forgotten = TextStore(tmp_path), 0
    while not ends.is_set():
        forgotten += beside.forget(Selection(key_id="k1"))
    writer.join()
    forgotten += beside.forget(Selection(key_id="k1"))
    assert forgotten == 300
    assert set(beside.read([f"req-{n}" for n in range(600)])) == {f"req-{n}" for n in range(0, 600, 2)}
    assert "unusualword0001" not in words_on_disk(tmp_path)


def test_each_text_lives_to_the_day_and_no_longer(tmp_path: Path) -> None:
    store = TextStore(tmp_path)
    ages_h = [0, 11, 13, 23.9, 24.1, 30, 47, 49, 100]
    store.append([text_of(i, age_h=age) for i, age in enumerate(ages_h)])
    assert store.expire(NOW - timedelta(hours=24)) == 5
    assert set(store.read([f"req-{i}" for i in range(9)])) == {"req-0", "req-1", "req-2", "req-3"}
    left = words_on_disk(tmp_path)
    assert not any(f"unusualword{i:04}" in left for i in range(4, 9))


KILLED_WRITER = """
import sys, time
from pathlib import Path
from warehouse.traffic.texts import RecordedText, TextStore
from warehouse.traffic.text_writer import TextWriter
writer = TextWriter(TextStore(Path(sys.argv[1])))
for n in range(1_000_000):
    writer.keep(RecordedText(f"req-{n}", [{"role": "user", "content": "x" * 3000}], "y" * 500, "gpt"))
    if n % 20 == 0:
        assert writer.flush()
        print(n, flush=True)
"""


@pytest.mark.parametrize("kills", [6])
def test_a_killed_writer_loses_nothing_that_had_been_flushed(tmp_path: Path, kills: int) -> None:
    for turn in range(kills):
        home = tmp_path / str(turn)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_WRITER, str(home)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        flushed = [int(process.stdout.readline()) for _ in range(1 + 5 * turn)][-1]
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = TextStore(home).read([f"req-{n}" for n in range(flushed + 1)])
        assert len(found) == flushed + 1


def test_a_wrong_key_is_one_message_and_an_old_one_beside_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_key(), make_key()
    store = TextStore(tmp_path, Seal([old]))
    store.append([text_of(1)])
    store.close()
    assert "unusualword0001" not in words_on_disk(tmp_path)
    for other in (Seal([new]), None):
        with pytest.raises(InputError, match="sealed with"):
            TextStore(tmp_path, other).append([text_of(2)])
        with pytest.raises(InputError, match="sealed with"):
            TextStore(tmp_path, other).read(["req-1"])
    monkeypatch.setenv(KEY_VARIABLE, f"{new},{old}")
    rotated = TextStore(tmp_path)
    rotated.append([text_of(2)])
    rotated.close()
    assert set(rotated.read(["req-1", "req-2"])) == {"req-1", "req-2"}
    monkeypatch.setenv(KEY_VARIABLE, new)
    assert set(TextStore(tmp_path).read(["req-2"])) == {"req-2"}
    with pytest.raises(InputError, match="another key"):
        TextStore(tmp_path).read(["req-1"])
    monkeypatch.delenv(KEY_VARIABLE)
    assert TextStore(tmp_path).forget(Selection(before=NOW + timedelta(days=1))) == 2, "needs no key"
    TextStore(tmp_path).append([text_of(3)])  # nothing is sealed here any more


def test_changed_bytes_of_a_sealed_text_are_told(tmp_path: Path) -> None:
    seal = Seal([make_key()])
    store = TextStore(tmp_path, seal)
    store.append([text_of(1)])
    (path,) = list_segments(store.folder)
    record = json.loads(path.read_text())
    middle = len(record["sealed"]) // 2
    changed = "A" if record["sealed"][middle] != "A" else "B"
    record["sealed"] = record["sealed"][:middle] + changed + record["sealed"][middle + 1 :]
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError, match="changed"):
        TextStore(tmp_path, seal).read(["req-1"])


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InputError, match="key"):
        Seal([key])


def test_a_key_file_is_read_and_a_missing_one_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_seal() is None
    path = tmp_path / "key"
    with pytest.raises(InputError, match="cannot be read"):
        read_seal(key_file=path)
    path.write_text(make_key() + "\n")
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(path))
    seal = read_seal()
    assert seal is not None
    assert seal.open(*seal.close(b"words"), "here") == b"words"


@contextmanager
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Half of each write goes through, and then the disk is full."""
    real = os.write

    def write(file: int, data: bytes) -> int:
        real(file, bytes(data)[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    yield
    monkeypatch.setattr(os, "write", real)


def test_a_full_disk_holds_texts_back_and_tears_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = TextStore(tmp_path)
    store.append([text_of(0)])
    writer = TextWriter(store)
    with failing_disk(monkeypatch):
        writer.keep(text_of(1))
        writer.keep(text_of(2))
        assert not writer.flush(within_s=0.3)
    assert writer.flush()
    assert set(store.read(["req-0", "req-1", "req-2"])) == {"req-0", "req-1", "req-2"}
    writer.close()
    assert store.forget(Selection(key_id="k0")) >= 3
    assert "unusualword" not in words_on_disk(tmp_path)


def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with failing_disk(monkeypatch):
        writer = TextWriter(TextStore(tmp_path))
        for n in range(60):
            writer.keep(text_of(n, "x" * (1 << 20)))
        assert writer.left_out >= 60 - MOST_WAITING_BYTES / (1 << 20) * 2
        writer.close()


def test_personal_data_never_reaches_the_disk(tmp_path: Path) -> None:
    writer = TextWriter(TextStore(tmp_path), make_redact)
    said = "Write to ann.lee+x@example.org or +49 30 901820; IBAN DE89 3704 0044 0532 0130 00."
    parts = [{"type": "text", "text": "my card is 4111 1111 1111 1111"}]
    text = RecordedText(
        "req-1",
        [{"role": "user", "content": said}, {"role": "user", "content": parts}],
        "SSN 123-45-6789 at 10.1.2.3",
        "gpt",
    )
    writer.keep(text)
    writer.close()
    found = TextStore(tmp_path).read(["req-1"])["req-1"]
    assert found.prompt_messages[0] == {
        "role": "user",
        "content": "Write to <EMAIL> or <PHONE>; IBAN <IBAN>.",
    }
    assert found.prompt_messages[1]["content"] == [{"type": "text", "text": "my card is <CREDIT_CARD>"}]
    assert found.answer_text == "SSN <SSN> at <IPV4>"
    left = words_on_disk(tmp_path)
    assert not any(part in left for part in ("example.org", "901820", "0532", "4111", "6789"))


@pytest.mark.parametrize(
    "harmless",
    [
        "What is 1234567890 + 987654321?",
        "Compute 123456789 * 2",
        "Choose A) 12345 B) 67890",
        "f(x) = 3.14159265358979; version 3.11.2; 1600000000 seconds; ISBN 978-3-16-148410-0",
    ],
)
def test_sums_and_numbers_stay(harmless: str) -> None:
    assert make_redact()(harmless) == harmless


def test_without_the_library_redaction_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CannotRunError, match=r"not installed.*redact"):
        check_redaction()
