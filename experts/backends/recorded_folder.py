"""Folders of recorded answers: public benchmarks and what real models answered, read into our tables.

A folder holds ``questions.parquet`` (question_id, subject, domain, question; where multiple choice, choices
and the letter of the answer; where free-form, the text of the answer, or none; prompt_tokens_0shot),
``answers.parquet`` (question_id, expert, correct; response and completion_chars where recorded) and
``experts.csv`` (expert, usd_per_mtok_in, usd_per_mtok_out, params_b). Cells that were never
asked stay absent.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from experts.catalogue.pricing import Price
from experts.catalogue.prompts import LETTERS
from experts.catalogue.spec import ExpertSpec
from warehouse import ANSWERS, QUESTIONS, InputError, question_id

if TYPE_CHECKING:
    import pandas as pd

#: Marks every row and every expert that was replayed, not run.
RECORDED = "recorded"

_CHARACTERS_PER_TOKEN = 4


def read_recorded_folder(directory: str | Path) -> tuple[pa.Table, pa.Table, list[ExpertSpec]]:
    """Return the QUESTIONS, the ANSWERS and the experts of a folder of recorded answers.

    Questions get the id of their content. Where the folder holds a question twice, the first stays, and so
    does each expert's first answer. A free-form question without a reference answer is of kind ``judged``.
    Prompt tokens are the folder's estimate without examples (``0shot``: a router sends the bare question),
    else characters / 4. Completion tokens are characters / 4 where recorded, else 1 for multiple choice and
    null for free-form. The score is the recorded one.

    Raises InputError naming the file and the column that is wrong.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError("no such folder", where=str(directory), fix="give a folder of recorded answers")
    questions = _read(directory / "questions.parquet", ("question_id", "subject", "domain", "question"))
    answers = _read(directory / "answers.parquet", ("question_id", "expert", "correct"))
    for column in ("subject", "domain", "question"):
        _check_text(questions, column, directory / "questions.parquet")
    if "response" in answers:
        _check_text(answers, "response", directory / "answers.parquet")
    specs = _read_experts(directory / "experts.csv", directory)
    table, tokens = _questions(questions, directory.name, str(directory / "questions.parquet"))
    return table, _answers(answers, tokens, specs, directory / "answers.parquet"), specs


def _read(path: Path, required: Sequence[str]) -> pd.DataFrame:
    try:
        frame: pd.DataFrame = pq.read_table(path).to_pandas()
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), fix="put the file there") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"not a Parquet file: {error}", where=str(path), fix="write it as Parquet") from None
    for column in required:
        if column not in frame.columns:
            raise InputError(
                f"column {column!r} is missing", where=str(path), fix=f"it needs {', '.join(required)}"
            )
        if frame[column].isna().any():
            row = int(np.flatnonzero(frame[column].isna())[0])
            raise InputError("a value is missing", where=f"{path}, column {column}, row {row + 1}")
    if frame.empty:
        raise InputError("the file has no rows", where=str(path))
    # Numbers in one file and text in the other are the same ids.
    return frame.assign(question_id=frame["question_id"].astype(str))


def _check_text(frame: pd.DataFrame, column: str, path: Path) -> None:
    for row, value in enumerate(frame[column]):
        if not isinstance(value, str | None) and value == value:  # a missing text may be NaN
            raise InputError(
                f"{value!r} is not text",
                where=f"{path}, column {column}, row {row + 1}",
                fix="write the column as strings",
            )


def _read_experts(path: Path, directory: Path) -> list[ExpertSpec]:
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
                price=price,
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


def _questions(frame: pd.DataFrame, source: str, where: str) -> tuple[pa.Table, pd.DataFrame]:
    """Return the QUESTIONS, and per recorded id: our id, prompt tokens, and whether it is multiple choice."""
    import pandas as pd

    frame = frame.reset_index(drop=True)
    repeated = frame["question_id"].duplicated()
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        name = frame["question_id"].iloc[row]
        raise InputError(f"{name!r} is there twice", where=f"{where}, column question_id, row {row + 1}")
    blank = [None] * len(frame)
    choices = [list(c) if c is not None and len(c) else None for c in frame.get("choices", blank)]
    letters = [str(a) if isinstance(a, str) else "" for a in frame.get("answer", blank)]
    answers = []
    for row, options in enumerate(choices):
        if not all(isinstance(option, str) for option in options or ()):
            raise InputError("a choice is not text", where=f"{where}, column choices, row {row + 1}")
    for row, (options, letter) in enumerate(zip(choices, letters, strict=True)):
        if options is None:
            answers.append(letter)
            continue
        index = LETTERS.find(letter) if len(letter) == 1 else -1
        if not 0 <= index < len(options):
            raise InputError(
                f"{letter!r} is not the letter of one of {len(options)} choices",
                where=f"{where}, column answer, row {row + 1}",
            )
        answers.append(str(index))
    ids = [question_id(p, c, a) for p, c, a in zip(frame["question"], choices, answers, strict=True)]
    kinds = np.where(
        [c is not None for c in choices], "choice", np.where(np.array(answers) != "", "exact", "judged")
    )
    columns = {
        "question_id": ids,
        "source": [source] * len(frame),
        "domain": frame["domain"].tolist(),
        "subject": frame["subject"].tolist(),
        "prompt": frame["question"].tolist(),
        "choices": choices,
        "answer": answers,
        "kind": kinds.tolist(),
        "created_at": [datetime.now(UTC)] * len(frame),
    }
    table = pa.table(
        [
            pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(len(frame), f.type)
            for f in QUESTIONS
        ],
        schema=QUESTIONS,
    )
    first = ~pd.Series(ids).duplicated().to_numpy()
    estimate = np.ceil(frame["question"].str.len() / _CHARACTERS_PER_TOKEN)
    told = _counts(frame, "prompt_tokens_0shot", where)
    prompt_tokens = told.where(told.notna(), estimate)
    tokens = pd.DataFrame(
        {
            "recorded_id": frame["question_id"],
            "question_id": ids,
            "prompt_tokens": prompt_tokens.astype("int32"),
            "is_choice": kinds == "choice",
        }
    )
    return table.filter(pa.array(first)), tokens


def _counts(frame: pd.DataFrame, column: str, where: str) -> pd.Series:
    """A column of counts as floats, NaN where there is none."""
    import pandas as pd

    told = frame.get(column, pd.Series(None, index=frame.index, dtype=object))
    counts = pd.to_numeric(told, errors="coerce").astype(float)
    bad = told.notna() & ~counts.between(0, np.iinfo(np.int32).max)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(f"{told.iloc[row]!r} is no count", where=f"{where}, column {column}, row {row + 1}")
    return counts


def _answers(frame: pd.DataFrame, tokens: pd.DataFrame, specs: list[ExpertSpec], path: Path) -> pa.Table:
    import pandas as pd

    by_name = {spec.name: spec for spec in specs}
    experts = pd.Categorical(frame["expert"], categories=list(by_name))
    if (experts.codes < 0).any():
        row = int(np.flatnonzero(experts.codes < 0)[0])
        raise InputError(
            f"expert {frame['expert'].iloc[row]!r} is not in experts.csv",
            where=f"{path}, column expert, row {row + 1}",
            fix="add it with its prices",
        )
    correct = pd.to_numeric(frame["correct"], errors="coerce").to_numpy(dtype=np.float64)
    if not np.all((correct >= 0) & (correct <= 1)):
        row = int(np.flatnonzero(~((correct >= 0) & (correct <= 1)))[0])
        raise InputError("a score is not in [0, 1]", where=f"{path}, column correct, row {row + 1}")
    characters = _counts(frame, "completion_chars", str(path))
    frame = frame.assign(code=experts.codes, score=correct, characters=characters)
    joined = frame.merge(tokens, left_on="question_id", right_on="recorded_id", suffixes=("_recorded", ""))
    if joined.empty:
        raise InputError(
            "no question_id is one of questions.parquet",
            where=f"{path}, column question_id",
            fix="use the same ids in both files",
        )
    joined = joined.drop_duplicates(["question_id", "code"])
    characters = joined["characters"]
    unrecorded = np.where(joined["is_choice"], 1.0, math.nan)
    completion_tokens = np.where(characters.isna(), unrecorded, np.ceil(characters / _CHARACTERS_PER_TOKEN))
    per_token = np.array([spec.price.usd_per_token for spec in specs])  # [m, 2]: prompt, completion
    code = joined["code"].to_numpy()
    prompt_tokens = joined["prompt_tokens"].to_numpy()
    cost_usd = prompt_tokens * per_token[code, 0] + completion_tokens * per_token[code, 1]
    response = (
        joined["response"] if "response" in joined else pd.Series(None, index=joined.index, dtype=object)
    )
    choice = response.map({letter: index for index, letter in enumerate(LETTERS)}).astype("float64")
    n = len(joined)
    versions = pa.array([spec.version for spec in specs])
    columns: dict[str, pa.Array] = {
        "question_id": pa.array(joined["question_id"], pa.string()),
        "expert": pa.array([spec.name for spec in specs]).take(pa.array(code)),
        "expert_version": versions.take(pa.array(code)),
        "text": pa.array(response, pa.string(), from_pandas=True),
        "choice": pa.array(choice, pa.float64(), from_pandas=True).cast(pa.int32()),
        "score": pa.array(joined["score"], pa.float32()),
        "grader": pa.repeat(pa.scalar(RECORDED), n),
        "prompt_tokens": pa.array(prompt_tokens, pa.int32()),
        "completion_tokens": pa.array(completion_tokens, pa.float64(), from_pandas=True).cast(pa.int32()),
        "cost_usd": pa.array(cost_usd, pa.float64(), from_pandas=True),
        "round": pa.repeat(pa.scalar(RECORDED), n),
        "run_id": pa.repeat(pa.scalar(RECORDED), n),
        "created_at": pa.repeat(pa.scalar(datetime.now(UTC), ANSWERS.field("created_at").type), n),
    }
    return pa.table(
        [columns[f.name] if f.name in columns else pa.nulls(n, f.type) for f in ANSWERS], schema=ANSWERS
    )
