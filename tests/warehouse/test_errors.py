"""The tree of errors: siblings under one root, each caught by its own name alone, each told in one line."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cli import run_app
from pipelines.learning.evidence import read_evidence
from warehouse import (
    CannotRunError,
    InfeasibleError,
    InputError,
    LedgerAwayError,
    LeerooError,
    NobodyMayAnswerError,
    NotReadyError,
    TooFewError,
    Warehouse,
)

KINDS = (
    *(InputError, NotReadyError, TooFewError, InfeasibleError),
    *(CannotRunError, LedgerAwayError, NobodyMayAnswerError),
)
TEXT = st.text(max_size=30)


def test_every_error_is_a_direct_child_of_the_root() -> None:
    """A new one belongs here, and into the table of docs/formats.md."""
    assert set(LeerooError.__subclasses__()) == set(KINDS)
    assert not [child for kind in KINDS for child in kind.__subclasses__()]


@given(st.sampled_from(KINDS), st.sampled_from(KINDS), TEXT, st.none() | TEXT, st.none() | TEXT)
def test_no_error_is_caught_by_the_name_of_another(raised, caught, what, where, fix) -> None:
    error = pickle.loads(pickle.dumps(raised(what, where=where, fix=fix)))
    assert (error.what, error.where, error.fix) == (what, where, fix)
    assert isinstance(error, caught) == (raised is caught)
    assert isinstance(error, LeerooError)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_command_line_tells_each_in_one_line(capsys, monkeypatch, kind, wrapped) -> None:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        try:
            raise kind("it does not work", where="here", fix="do that")
        except LeerooError as error:
            if wrapped:  # as libraries wrap what a callback of ours raised
                raise RuntimeError("a task failed") from error
            raise

    monkeypatch.delenv("LEEROO_DEBUG", raising=False)
    monkeypatch.setattr(sys, "argv", ["leeroo"])
    mask = os.umask(0o077)
    try:
        with pytest.raises(SystemExit) as ended:
            run_app(app)  # which sets the mask for its process, and this one goes on
    finally:
        os.umask(mask)
    shown = capsys.readouterr()
    assert ended.value.code == kind.exit_code
    assert shown.err == "leeroo: here: it does not work. To fix it: do that\n"
    assert shown.out == ""


def test_a_damaged_table_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    """Rounds go on where nothing was answered yet; a file that cannot be read must stop them."""
    store = Warehouse(tmp_path)
    assert read_evidence(store, ["e"], []) is None
    names = [f"q{number}" for number in range(9)]
    question = {"source": "s", "domain": "d", "kind": "exact", "answer": "x"}
    questions = [question | {"question_id": name, "prompt": name} for name in names]
    answer = {"expert": "e", "expert_version": "1", "score": 1.0, "cost_usd": 0.1}
    store.append("questions", pa.Table.from_pylist(questions), round="r")
    store.append(
        "answers",
        pa.Table.from_pylist([answer | {"question_id": name} for name in names]),
        round="r",
        expert="e",
    )
    assert read_evidence(Warehouse(tmp_path), ["e"], []) is not None
    (path,) = tmp_path.glob("answers/round=r/*/*.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_evidence(Warehouse(tmp_path), ["e"], [])
