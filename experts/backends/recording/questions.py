"""The questions of a folder of recorded answers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from experts.backends.recording.tables import check_text, note_dropped, note_unread, read_amounts, read_table
from experts.catalogue.option_answers import learn_writing, resolve
from experts.catalogue.options import Options, is_missing, read_options
from experts.catalogue.pricing import CHARACTERS_PER_TOKEN
from warehouse import QUESTIONS, InputError, question_id

if TYPE_CHECKING:
    import pandas as pd

_NEEDED = ("question_id", "subject", "domain", "question")
_KNOWN = (*_NEEDED, "choices", "answer", "prompt_tokens_0shot")
_MOST = float(np.iinfo(np.int32).max)


def read_questions(path: Path, source: str, notes: list[str]) -> tuple[pa.Table, pd.DataFrame]:
    """Return the QUESTIONS, and per recorded id: our id, prompt tokens, and whether it is multiple choice."""
    import pandas as pd

    frame = read_table(path, _NEEDED).reset_index(drop=True)
    note_unread(frame.columns, _KNOWN, path, notes)
    for column in ("subject", "domain", "question"):
        check_text(frame, column, path)
    repeated = frame["question_id"].duplicated()
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        name = frame["question_id"].iloc[row]
        raise InputError(f"{name!r} is there twice", where=f"{path}, column question_id, row {row + 1}")
    choices, answers = _choices_and_answers(frame, path)
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
    again = pd.Series(ids).duplicated().to_numpy()
    if again.any():
        row = int(np.flatnonzero(again)[0])
        example = f"row {row + 1} repeats row {ids.index(ids[row]) + 1}"
        note_dropped(
            int(again.sum()), "the same question again; its answers count for the first", path, example, notes
        )
    estimate = np.ceil(frame["question"].str.len() / CHARACTERS_PER_TOKEN)
    told = read_amounts(frame, ["prompt_tokens_0shot"], str(path), most=_MOST)
    tokens = pd.DataFrame(
        {
            "recorded_id": frame["question_id"],
            "question_id": ids,
            "prompt_tokens": told.where(told.notna(), estimate).astype("int32"),
            "is_choice": kinds == "choice",
        }
    )
    return table.filter(pa.array(~again)), tokens


def _choices_and_answers(frame: pd.DataFrame, path: Path) -> tuple[list[list[str] | None], list[str]]:
    blank = [None] * len(frame)
    options: list[Options | None] = []
    for row, value in enumerate(frame.get("choices", blank)):
        value = value.tolist() if isinstance(value, np.ndarray) else value
        if isinstance(value, dict):
            value = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in value.items()}
        if isinstance(value, list) and not all(isinstance(part, str | dict | list) for part in value):
            raise InputError("a choice is not text", where=f"{path}, column choices, row {row + 1}")
        place = f"{path}, column choices, row {row + 1}"
        options.append(None if is_missing(value) else read_options(value, place, to_ask=False))
    told: list[Any] = list(frame.get("answer", blank))
    asked = [
        (f"row {row + 1}", found, [("answer", _plain(answer))])
        for row, (found, answer) in enumerate(zip(options, told, strict=True))
        if found is not None and not is_missing(answer)
    ]
    columns = learn_writing(asked)
    writing = columns["answer"].writing if "answer" in columns else None
    answers: list[str] = []
    for row, (found, answer) in enumerate(zip(options, told, strict=True)):
        if found is None:
            answers.append(
                str(answer) if isinstance(answer, str) else "" if is_missing(answer) else f"{answer}"
            )
            continue
        index = None if is_missing(answer) else resolve(_plain(answer), found, writing)
        if index is None:
            raise InputError(
                f"{answer!r} is not the letter of one of {len(found.texts)} choices",
                where=f"{path}, column answer, row {row + 1}",
                fix="give the letter of the right one, its text or its number",
            )
        answers.append(str(index))
    return [None if found is None else list(found.texts) for found in options], answers


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
