"""Load questions from a file: all of it, or an error and nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from experts.catalogue.option_answers import AnswerWriting, learn_writing
from pipelines.questions.draft import Row, questions_table
from pipelines.questions.loading.columns import NAMES, map_columns, report_unread, unread_columns
from pipelines.questions.loading.fields import Opened, open_record, read_question
from pipelines.questions.loading.layouts import is_unanswerable
from pipelines.questions.loading.records import read_records, stem_of
from pipelines.questions.loading.report import LoadReport
from warehouse import InputError


@dataclass(frozen=True)
class Reading:
    """How somebody says that a file is to be read, where its columns do not.

    Args:
        columns: field -> column, or several joined by ``+`` (``choices``: ``"A+B+C"``).
        answers_from: what the first option has for its number, 0 or 1; None decides by the file.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    answers_from: int | None = None

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in NAMES:
                raise InputError(
                    f"there is no field {name!r}", where="--columns", fix="use " + ", ".join(NAMES)
                )
        if self.answers_from not in (None, 0, 1):
            raise InputError(
                f"answers count from {self.answers_from}", where="--answers-from", fix="give 0 or 1"
            )


def load_file(
    path: str | Path,
    *,
    source: str | None = None,
    domain: str | None = None,
    round: str = "r000",
    reading: Reading | None = None,
    report: LoadReport | None = None,
) -> pa.Table:
    """Return the questions of a file as a QUESTIONS table, in its order; exact duplicates are kept once.

    The columns are those of :func:`pipelines.questions.loading.fields.read_question`; others are named in the
    log.

    Args:
        path: a file that :func:`pipelines.questions.loading.records.read_records` reads.
        source: the name of the source; the file's stem unless given.
        domain: the domain of questions that name none.
        round: the round that the questions belong to.
        reading: what the columns mean, where their names do not say.
        report: filled with what was left out and decided; logged where there is none.

    Raises:
        InputError: no such file, an unknown suffix, an unreadable or empty file, or a wrong question; it
            names the file, the line or row and the field.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", where=str(path), fix="check the path")
    reading = reading or Reading()
    told = report if report is not None else LoadReport()
    told.place = told.place or str(path)
    records = [(place, f"{path}, {place}", record) for place, record in read_records(path)]
    _check_mapping(path, [record for _, _, record in records], reading)
    answerable = without_unanswerable(records, told)
    opened = [
        open_record(map_columns(record, reading.columns, where) if reading.columns else record, where=where)
        for _, where, record in answerable
    ]
    if not opened:
        raise InputError(
            "none of its questions has an answer" if records else "no question in it",
            where=str(path),
            fix="put one question a line or row",
        )
    writings = answer_writings(opened, reading, told)
    rows = [
        read_question(one, source=source or stem_of(path), domain=domain, round=round, writings=writings)
        for one in opened
    ]
    unread = dict.fromkeys(name for one in opened for name in unread_columns(one.record, one.used))
    report_unread(path, unread)
    table = keep_each_once(zip([place for place, _, _ in answerable], rows, strict=True), told)
    if report is None:
        told.log()
    return table


def without_unanswerable(
    records: Iterable[tuple[str, str, dict[str, Any]]], report: LoadReport
) -> list[tuple[str, str, dict[str, Any]]]:
    """Count the records (place, path and place, record) that say they have no answer; return the others."""
    kept = []
    for place, where, record in records:
        if is_unanswerable(record):
            report.records += 1
            report.drop("its text does not answer it, so no answer can be graded", place)
        else:
            kept.append((place, where, record))
    return kept


def _check_mapping(path: Path, records: list[dict[str, Any]], reading: Reading) -> None:
    there = dict.fromkeys(name for record in records for name in record)
    for name, column in reading.columns.items():
        for part in column.split("+"):
            if records and part.strip() not in there:
                raise InputError(
                    f"no column {part.strip()!r} for the field {name}",
                    where=f"{path}, --columns",
                    fix=f"name one of {', '.join(map(str, list(there)[:20]))}",
                )


def answer_writings(
    opened: Iterable[Opened], reading: Reading, report: LoadReport
) -> dict[str, AnswerWriting]:
    """Return how each answer column writes its answers, and tell where numbers count from if not certain."""
    questions = [(one.where, one.options, one.answers) for one in opened if one.options and not one.ours]
    found = learn_writing(questions)
    writings = {column: seen.writing for column, seen in found.items()}
    if reading.answers_from is not None:
        return {column: replace(told, base=reading.answers_from) for column, told in writings.items()}
    for column, seen in found.items():
        if seen.numbers and not seen.is_certain:
            report.note(
                f"the {seen.numbers:,} numbers of {column} are read as counted from 0, which none shows; "
                "if they count from 1, pass --answers-from 1"
            )
        elif seen.numbers and seen.base == 1:
            report.note(f"the numbers of {column} count from 1")
    return writings


def keep_each_once(rows: Iterable[tuple[str, Row]], report: LoadReport) -> pa.Table:
    """Return the rows as a QUESTIONS table, each once, and count what is left out or cannot be graded."""
    first: dict[str, str] = {}
    asked: dict[tuple[str, tuple[str, ...]], tuple[str, str]] = {}
    kept: list[Row] = []
    ungraded: list[str] = []
    for place, row in rows:
        report.records += 1
        identity = row["question_id"]
        if identity in first:
            report.drop("the same question, options and answer again", f"{place} repeats {first[identity]}")
            continue
        first[identity] = place
        same = (row["prompt"], tuple(row["choices"] or ()))
        answer, earlier = asked.setdefault(same, (row["answer"], place))
        if answer and row["answer"] and answer != row["answer"]:
            report.note(f"{place} asks the same as {earlier} with another answer; both are kept")
        if row["kind"] == "choice" and row["answer"] == "":
            ungraded.append(place)
        kept.append(row)
    if ungraded:
        report.note(
            f"{len(ungraded):,} multiple-choice questions without an answer, first: {ungraded[0]}; they can "
            "be asked and judged, not graded"
        )
    return questions_table(kept)
