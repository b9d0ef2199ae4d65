"""``leeroo traffic forget``, ``expire``, ``texts``: what they take, what they refuse, what they leave."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.recording_state import look_at_recording
from serve.config import ServeConfig
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import TrafficRecord
from serve.ledger.traffic.upkeep import Upkeep
from serve.texts import check_texts
from warehouse import CannotRunError, InputError, Warehouse
from warehouse.traffic.hashing import keyed_hash, read_hash_key
from warehouse.traffic.retention import RecordingKept, note_recording
from warehouse.traffic.sealing import KEY_FILE_VARIABLE, KEY_VARIABLE, Seal, make_key
from warehouse.traffic.texts import RecordedText, TextStore

WORD = "unusualword"
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY_VARIABLE, KEY_FILE_VARIABLE, "LEEROO_WAREHOUSE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two keys; a request of each is in the tables, and one more waits in the ledger with its embedding."""
    ledger = Ledger(tmp_path / LEDGER_FILE)
    keys = [ledger.create_key(name)[0] for name in ("ann", "bob")]
    store, texts = Warehouse(tmp_path / "warehouse"), TextStore(tmp_path)
    for n, key in enumerate(keys):
        user = keyed_hash(read_hash_key(tmp_path), "user", f"user{n}")
        at = NOW - timedelta(days=10 * n, minutes=1)
        row = {"request_id": f"req-{n}", "key_id": key, "user_hash": user, "role": "named", "expert": "gpt"}
        row |= {"recording": "texts", "created_at": at}
        store.append("traffic", pa.Table.from_pylist([row]), round="serve-1")
        texts.append([RecordedText(f"req-{n}", [], f"{WORD}{n}", "gpt", key, user, at)])
        waits = {
            **row,
            "request_id": f"waits-{n}",
            "round": "serve-1",
            "created_at": int(at.timestamp() * 1e6),
        }
        vector = b"\x00\x00\x80\x3f" + f"vector-of-{n}!".encode()[:12]
        ledger.traffic.keep([TrafficRecord(f"waits-{n}", orjson.dumps(waits), vector, vector)])
    ledger.close()
    texts.close()
    return tmp_path


def leeroo(home: Path, *arguments: str) -> str:
    run = CliRunner().invoke(app, [*arguments, "--home", str(home)])
    if run.exception is not None and not isinstance(run.exception, SystemExit):
        raise run.exception
    return run.output


def ids(home: Path) -> set[str]:
    return set(Warehouse(home / "warehouse").scan("traffic")["request_id"].to_pylist())


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (("--key", "ann"), {"req-1", "waits-1"}),
        (("--user", "user1"), {"req-0", "waits-0"}),
        (("--request", "req-0", "--request", "waits-1"), {"waits-0", "req-1"}),
        (("--before", f"{NOW - timedelta(days=3):%Y-%m-%d}"), {"req-0", "waits-0"}),
        (("--key", "ann", "--before", "2020-01-01"), {"req-0", "req-1", "waits-0", "waits-1"}),
    ],
)
def test_what_waits_in_the_ledger_is_forgotten_with_the_rest(
    home: Path, options: tuple[str, ...], left: set[str]
) -> None:
    told = leeroo(home, "traffic", "forget", *options, "--yes")
    assert f"{4 - len(left)} requests are forgotten" in told
    assert "stays in the ledger" in told
    assert ids(home) == left
    held = json.loads(leeroo(home, "traffic", "texts", "--json"))
    assert held["texts"] == len(left & {"req-0", "req-1"})
    for path in home.glob("ledger.db*"):  # its log and its free pages too
        for n in (0, 1):
            assert f"vector-of-{n}".encode() not in path.read_bytes(), path
    with sqlite3.connect(home / LEDGER_FILE) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "nothing says what"),
        (("--key", "nobody"), "no key is called 'nobody'"),
        (("--before", "soon"), "'soon' is no moment"),
    ],
)
def test_what_names_nobody_is_refused_and_nothing_goes(
    home: Path, options: tuple[str, ...], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        leeroo(home, "traffic", "forget", *options, "--yes")
    assert WORD in (next((home / "traffic" / "texts").rglob("*.jsonl"))).read_text()


def test_without_yes_and_without_anybody_to_ask_nothing_goes(home: Path) -> None:
    with pytest.raises(InputError, match="--yes"):
        leeroo(home, "traffic", "forget", "--key", "ann")
    assert len(TextStore(home).read(["req-0", "req-1"])) == 2


def test_texts_expire_by_the_command_and_by_the_endpoint_itself(home: Path) -> None:
    note_recording(home, RecordingKept("texts", keep_days=5))
    told, problems = look_at_recording(home)
    assert "texts, for 5 days, NOT encrypted; 2 texts are held, 2 of them plain" in told
    assert len(problems) == 1
    assert "1 texts were over their time" in leeroo(home, "traffic", "expire")
    assert look_at_recording(home)[1] == ()
    assert set(TextStore(home).read(["req-0", "req-1"])) == {"req-0"}
    upkeep = Upkeep(ServeConfig(home=home, record="features", keep_texts_days=1))
    TextStore(home).append([RecordedText("old", [], "x", "gpt", created_at=NOW - timedelta(days=2))])
    upkeep.run_if_due()
    assert TextStore(home).read(["old"]) == {}
    assert "0 texts were over" in leeroo(home, "traffic", "expire")


def test_where_traces_cannot_be_reached_texts_expire_and_who_is_to_be_forgotten_is_still_known(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant: list[set[str]] = []

    def away(tracking_uri: str, *told: object) -> int:
        meant.extend(one for one in told if isinstance(one, set))
        raise InputError("MLflow does not answer", where="somewhere", fix="start it")

    def refused(*arguments: str) -> None:
        with pytest.raises(InputError, match="does not answer"):
            leeroo(home, "traffic", *arguments)

    monkeypatch.setattr("pipelines.traffic.forget.forget_traces", away)
    monkeypatch.setattr("pipelines.traffic.forget.expire_traces", away)
    for _ in range(2):  # a trace does not say whose user's it is: the rows do, so they go last
        refused("forget", "--user", "user0", "--yes")
    assert meant[0] == meant[1] >= {"req-0"}
    refused("expire", "--keep-texts-days", "5")
    texts = TextStore(home)
    assert set(texts.read(["req-0", "req-1"])) == {"req-0"}
    texts.close()


def test_a_text_is_shown_to_who_has_the_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = leeroo_key()
    store = TextStore(home, Seal([key]))
    store.append([RecordedText("sealed", [{"role": "user", "content": WORD}], "said", "gpt")])
    with pytest.raises(InputError, match="sealed with a key, and none is given"):
        leeroo(home, "traffic", "texts", "--request", "sealed")
    monkeypatch.setenv(KEY_VARIABLE, key)
    assert json.loads(leeroo(home, "traffic", "texts", "--request", "sealed"))["answer_text"] == "said"
    assert "3 texts, 2 of them plain" in leeroo(home, "traffic", "texts")


def leeroo_key() -> str:
    run = CliRunner().invoke(app, ["traffic", "make-key"])
    return run.output.strip()


def test_settings_that_cannot_be_kept_are_refused_before_anything_starts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="0 days"):
        check_texts(ServeConfig(home=home, record="texts", keep_texts_days=0))
    check_texts(ServeConfig(home=home, record="features", keep_texts_days=0))
    with pytest.raises(InputError, match="cannot be read"):
        check_texts(ServeConfig(home=home, record="texts", texts_key_file=home / "nowhere"))
    monkeypatch.setenv(KEY_VARIABLE, "short")
    with pytest.raises(InputError, match="no key for texts"):
        check_texts(ServeConfig(home=home, record="texts"))
    monkeypatch.setenv(KEY_VARIABLE, make_key())
    TextStore(home).append([RecordedText("sealed", [], "said", "gpt")])
    check_texts(ServeConfig(home=home, record="texts"))
    monkeypatch.setenv(KEY_VARIABLE, make_key())
    with pytest.raises(InputError, match="another key"):
        check_texts(ServeConfig(home=home, record="texts"))
    monkeypatch.setenv(KEY_VARIABLE, "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CannotRunError, match="not installed"):
        check_texts(ServeConfig(home=home, record="texts", redact=True))
