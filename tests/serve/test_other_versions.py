"""An endpoint of another version, running or by what it left in the home: one message, soon."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipelines.cli import app
from serve.checks import check_machine
from serve.config import ServeConfig
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.store.tables import FORMAT
from tests.scripted_api import ChatHandler, serve_chat
from warehouse import InputError, LeerooError

SOON_S = 5.0
run = CliRunner().invoke

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=9)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
)


def pieces() -> st.SearchStrategy[dict[str, Any]]:
    """Pieces of a stream whose known fields may be missing, or hold anything."""
    delta = st.fixed_dictionaries({}, optional={"content": VALUES | st.just("hello")}) | VALUES
    choice = st.fixed_dictionaries({}, optional={"delta": delta, "index": VALUES}) | VALUES
    told = st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("expert", "predicted_success", "cost_usd", "reason"), VALUES)
    )
    error = st.fixed_dictionaries({}, optional={"message": VALUES}) | VALUES
    return st.fixed_dictionaries(
        {},
        optional={
            "choices": st.lists(choice, max_size=2) | VALUES,
            "leeroo": told | VALUES,
            "object": VALUES,
        },
    ) | st.fixed_dictionaries({"error": error})


class Stranger(ChatHandler):
    """Says what the test wrote down, whatever it is asked."""

    said = (200, "", "text/event-stream")

    def act(self, body: dict[str, Any]) -> None:
        status, text, kind = type(self).said
        self.send(status, text, {"content-type": kind})


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    with serve_chat(Stranger) as url:
        yield url.removesuffix("/v1")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(pieces() | VALUES, max_size=3), st.booleans())
def test_an_endpoint_that_tells_other_things(stranger: str, told: list[Any], done: bool) -> None:
    lines = [f"data: {json.dumps(piece)}\n\n" for piece in told] + ["data: [DONE]\n\n"] * done
    Stranger.said = (200, "".join(lines), "text/event-stream")
    ended = run(app, ["ask", "x", "--url", stranger])
    assert ended.exit_code == 0 or isinstance(ended.exception, LeerooError), ended.exception


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (200, '{"choices": [{"message": {"content": "a whole answer"}}]}', "no endpoint of this version"),
        (200, "<html>Welcome to nginx!</html>", "no endpoint of this version"),
        (404, '{"detail": "Not Found"}', "status 404, and not from an endpoint of ours"),
        (405, '{"error": "gone"}', "status 405"),
        (422, '{"detail": [{"loc": ["body", "stream"], "msg": "unknown field"}]}', "status 422"),
        (500, "", "status 500"),
    ],
)
def test_an_address_where_somebody_else_answers(stranger: str, status: int, text: str, words: str) -> None:
    Stranger.said = (status, text, "application/json")
    began = time.monotonic()
    with pytest.raises(InputError, match=words) as refused:
        run(app, ["ask", "x", "--url", stranger], catch_exceptions=False)
    assert time.monotonic() - began < SOON_S
    assert stranger in str(refused.value)


@pytest.mark.parametrize("command", [["keys", "list"], ["keys", "create", "ann"], ["ledger", "check"]])
def test_a_ledger_that_a_newer_version_keeps(tmp_path: Path, command: list[str]) -> None:
    """Its rows may mean other things: they are neither read nor written."""
    path = tmp_path / LEDGER_FILE
    Ledger(path).create_key("before")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"pragma user_version = {FORMAT + 1}")
    before = contents(path)
    began = time.monotonic()
    with pytest.raises(InputError, match="a newer version"):
        run(app, [*command, "--home", str(tmp_path)], catch_exceptions=False)
    with pytest.raises(InputError, match="a newer version"):
        check_machine(ServeConfig(home=tmp_path))
    assert time.monotonic() - began < SOON_S
    assert contents(path) == before


def test_a_ledger_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_FILE
    Ledger(path).create_key("ann")
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma user_version = 0")
    assert [key.name for key in Ledger(path).list_keys()] == ["ann"]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma user_version").fetchone()[0] == FORMAT


def contents(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())
