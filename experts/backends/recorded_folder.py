"""Folders of recorded answers: public benchmarks and what real models answered, read into our tables.

A folder holds ``questions.parquet`` (question_id, subject, domain, question; where multiple choice, choices
and the letter of the answer; where free-form, the text of the answer, or none; prompt_tokens_0shot),
``answers.parquet`` (question_id, expert, correct; response, completion_chars, and per answer cost_usd,
prompt_tokens, completion_tokens and latency_s where recorded) and ``experts.csv`` (expert, usd_per_mtok_in,
usd_per_mtok_out, params_b). Cells that were never asked stay absent.
"""

from __future__ import annotations

import csv
import logging
import re
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError

from experts.backends.recording.answers import RECORDED, read_answers
from experts.backends.recording.questions import read_questions
from experts.backends.recording.tables import note_unread
from experts.catalogue.pricing import Price
from experts.catalogue.spec import ExpertSpec
from warehouse import InputError

__all__ = ["RECORDED", "read_recorded_folder"]

_log = logging.getLogger(__name__)


def read_recorded_folder(
    directory: str | Path, *, notes: list[str] | None = None
) -> tuple[pa.Table, pa.Table, list[ExpertSpec]]:
    """Return the QUESTIONS, the ANSWERS and the experts of a folder of recorded answers.

    Questions get the id of their content. Where the folder holds a question twice, the first stays, and so
    does each expert's first answer. A free-form question without a reference answer is of kind ``judged``.
    Tokens, cost and latency of an answer are the recorded ones. Else prompt tokens are the folder's estimate
    without examples (``0shot``: a router sends the bare question), else characters / 4; completion tokens are
    characters / 4 where recorded, else 1 for multiple choice and null for free-form. The score is the
    recorded one.

    Args:
        directory: the folder.
        notes: filled with a line for each thing that was left out or not read; logged where there is none.

    Raises InputError naming the file and the column that is wrong.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError("no such folder", where=str(directory), fix="give a folder of recorded answers")
    told: list[str] = [] if notes is None else notes
    questions, tokens = read_questions(directory / "questions.parquet", directory.name, told)
    specs = _read_experts(directory / "experts.csv", directory, told)
    answers = read_answers(directory / "answers.parquet", tokens, specs, told)
    if notes is None:
        for line in told:
            _log.warning("%s: %s", directory, line)
    return questions, answers, specs


def _read_experts(path: Path, directory: Path, notes: list[str]) -> list[ExpertSpec]:
    if not path.is_file():
        raise InputError("no such file", where=str(path), fix="list the experts and their prices")
    try:
        # Spreadsheets put a byte order mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or ()
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"not CSV in UTF-8: {error}", where=str(path), fix="save it as UTF-8") from None
    for column in ("expert", "usd_per_mtok_in", "usd_per_mtok_out"):
        if column not in columns:
            raise InputError(f"column {column!r} is missing", where=str(path))
    note_unread(columns, ("expert", "usd_per_mtok_in", "usd_per_mtok_out", "params_b"), path, notes)
    specs: dict[str, ExpertSpec] = {}
    for line, row in enumerate(rows, start=2):
        where = f"{path}, line {line}"
        try:
            price = Price(
                usd_per_mtok_in=float(row["usd_per_mtok_in"]), usd_per_mtok_out=float(row["usd_per_mtok_out"])
            )
            size = re.match(r"\d+(\.\d+)?", row.get("params_b") or "")  # "46.7 (12.9 active)" is 46.7
            spec = ExpertSpec(
                name=row["expert"],
                backend="recorded",
                model=row["expert"],
                recording=str(directory),
                prices=(price,),
                params_b=float(size.group()) if size else None,
                tags=(RECORDED,),
            )
        except (TypeError, ValidationError, ValueError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise InputError(
                f"expert {row.get('expert')!r}: {reason}", where=where, fix="give a name and two prices"
            ) from None
        if spec.name in specs:
            raise InputError(f"expert {spec.name!r} is listed twice", where=where, fix="remove one line")
        specs[spec.name] = spec
    return list(specs.values())
