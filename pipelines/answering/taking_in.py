"""Taking in what a kill left: answers in journals become rows, money without a row is kept in a small file.

Done whenever somebody looks for open work, and at the end of a run. It may be killed itself at any moment and
done again: rows are known by their key and the time at which they were kept, and a journal goes last.
"""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.answering.paid_calls import FOLDER, GRADED_BY
from pipelines.answering.worth_keeping import is_lost
from warehouse import ANSWERS, QUESTIONS, Warehouse
from warehouse.files import FileStore
from warehouse.journal import claim_journal, delete_journal, list_journals, read_journal

if TYPE_CHECKING:
    from experts.backends.base import RawAnswer

_UNRECORDED = "unrecorded"

#: Sums of many small floats carry rounding errors of far less than any price.
_ROUNDING_USD = 1e-12

#: What reading a record raises that a failing disk has changed: it must not keep everybody from what is open.
_DAMAGE = (AttributeError, KeyError, OverflowError, TypeError, ValueError)
_NAMES = ("question_id", "expert_version", "run_id")

#: Answers that become rows at a time.
_CHUNK = 4096


def take_in_journals(warehouse: Warehouse, *, expert: str | None = None, session: str | None = None) -> None:
    """Store the answers, and book the money, that journals hold which nobody writes any more.

    Args:
        warehouse: where they lie.
        expert: only this expert's.
        session: this run's too, although its processes may not have ended: they are done.
    """
    files = FileStore(warehouse.url)
    for name in list_journals(files, FOLDER, depth=2):
        if expert is not None and _Journal(name).expert != expert:
            continue
        with claim_journal(files, name) as is_free:
            if is_free or (session is not None and _Journal(name).writer.startswith(f"{session}-")):
                _take_in(warehouse, files, _Journal(name))


def unrecorded_usd(warehouse: Warehouse, round: str) -> float:
    """Return what a round was billed, or may have been, and its rows do not hold."""
    files = FileStore(warehouse.url)
    folder = f"{_UNRECORDED}/round={quote(round, safe='')}"
    kept = [name for name in files.list(folder) if name.endswith(".json")]
    usd = [json.loads(files.read(name))["usd"] for name in kept]
    journals = map(_Journal, list_journals(files, f"{FOLDER}/round={quote(round, safe='')}", depth=1))
    usd += [
        _read(files, journal).unrecorded_usd(warehouse)
        for journal in journals
        if f"{folder}/{journal.writer}.json" not in kept  # else it has been taken in but for its end
    ]
    return math.fsum(usd)


@dataclass(frozen=True)
class _Journal:
    """What a journal's name tells."""

    name: str

    @property
    def round(self) -> str:
        return unquote(self.name.split("/")[1].removeprefix("round="))

    @property
    def expert(self) -> str:
        return unquote(self.name.split("/")[2].removeprefix("expert="))

    @property
    def writer(self) -> str:
        return self.name.split("/")[3]


@dataclass
class _Content:
    """What a journal holds."""

    journal: _Journal
    booked_usd: float
    answers: list[dict[str, Any]]

    def unrecorded_usd(self, warehouse: Warehouse) -> float:
        """What was booked, without that of its own answers which are rows."""
        stored_usd = []
        for version in {record["answer"]["expert_version"] for record in self.answers}:
            columns = ["question_id", "created_at", "cost_usd"]
            rows = warehouse.answers_of(self.journal.expert, version, columns=columns)
            own = {
                record["answer"]["question_id"]: datetime.fromisoformat(record["answer"]["created_at"])
                for record in self.answers
                if record["answer"]["expert_version"] == version
            }
            rows = rows.filter(pc.is_in(rows["question_id"], value_set=pa.array(list(own), pa.string())))
            stored_usd += [
                row["cost_usd"] or 0.0
                for row in rows.to_pylist()
                if row["created_at"] == own[row["question_id"]]
            ]
        return max(self.booked_usd - math.fsum(stored_usd), 0.0)


def _read(files: FileStore, journal: _Journal) -> _Content:
    spent: list[float] = []
    out: list[float] = []
    answers: list[dict[str, Any]] = []
    for record in read_journal(files, journal.name):
        with contextlib.suppress(*_DAMAGE):
            if "reserved" in record:
                out.append(float(record["reserved"]))
            elif "settled" in record:
                reserved_usd, spent_usd = map(float, record["settled"])
                out.append(-reserved_usd)
                spent.append(spent_usd)
            elif "answer" in record:
                datetime.fromisoformat(record["answer"]["created_at"])
                if all(isinstance(record["answer"][name], str) for name in _NAMES):
                    answers.append(record)
    return _Content(journal, math.fsum(spent) + max(math.fsum(out), 0.0), answers)


def _take_in(warehouse: Warehouse, files: FileStore, journal: _Journal) -> None:
    content = _read(files, journal)
    has_answered = any(record["answer"].get("error") is None for record in content.answers)
    for start in range(0, len(content.answers), _CHUNK):
        _store(warehouse, journal, content.answers[start : start + _CHUNK], has_answered)
    usd = content.unrecorded_usd(warehouse)
    if usd > _ROUNDING_USD:
        name = f"{_UNRECORDED}/round={quote(journal.round, safe='')}/{journal.writer}.json"
        files.write(name, json.dumps({"usd": usd}).encode())
    delete_journal(files, journal.name)


def _store(
    warehouse: Warehouse, journal: _Journal, records: list[dict[str, Any]], has_answered: bool
) -> None:
    answers = [record["answer"] for record in records]
    keys = {name: [answer[name] for answer in answers] for name in ("question_id", "expert_version")}
    table = pa.table(keys | {"expert": pa.repeat(journal.expert, len(answers))})
    is_open = warehouse.missing("answers", table, expert=journal.expert).to_pylist()
    records = [record for record, is_open in zip(records, is_open, strict=True) if is_open]
    for version, run_id in {(r["answer"]["expert_version"], r["answer"]["run_id"]) for r in records}:
        of_one = [
            record
            for record in records
            if (record["answer"]["expert_version"], record["answer"]["run_id"]) == (version, run_id)
        ]
        rows = _to_rows_that_can_be_read(of_one, journal, version, run_id)
        rows = rows.filter(pc.invert(is_lost(rows, has_answered=has_answered)))
        warehouse.append("answers", rows, round=journal.round, expert=journal.expert)


def _to_rows_that_can_be_read(
    records: list[dict[str, Any]], journal: _Journal, version: str, run_id: str
) -> pa.Table:
    try:
        return _to_rows(records, journal, version, run_id)
    except _DAMAGE:
        found = [ANSWERS.empty_table()]
        for record in records:
            with contextlib.suppress(*_DAMAGE):
                found.append(_to_rows([record], journal, version, run_id))
        return pa.concat_tables(found)


def _to_rows(records: list[dict[str, Any]], journal: _Journal, version: str, run_id: str) -> pa.Table:
    from experts import grade
    from experts.answer_rows import complete_rows
    from experts.backends.base import raw_table

    answers = [record["answer"] for record in records]
    ids = [answer["question_id"] for answer in answers]
    schema = pa.schema([QUESTIONS.field(name) for name in ("question_id", *GRADED_BY)])
    questions = pa.Table.from_pylist([record["question"] for record in records], schema=schema)
    graded = grade(questions, raw_table(ids, list(map(_raw_answer, answers))))
    times = [datetime.fromisoformat(answer["created_at"]) for answer in answers]
    graded = graded.append_column("created_at", pa.array(times, pa.timestamp("us", tz="UTC")))
    return complete_rows(
        graded, expert=journal.expert, expert_version=version, round=journal.round, run_id=run_id
    )


def _raw_answer(answer: dict[str, Any]) -> RawAnswer:
    from experts.backends.base import RawAnswer

    return RawAnswer(**{field.name: answer[field.name] for field in fields(RawAnswer)})
