"""The answers of a folder of recorded answers: scores, and what each cost and took."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from experts.backends.recording.tables import check_text, note_dropped, note_unread, read_amounts, read_table
from experts.catalogue.pricing import CHARACTERS_PER_TOKEN
from experts.catalogue.prompts import LETTERS
from experts.catalogue.spec import ExpertSpec
from warehouse import ANSWERS, InputError

if TYPE_CHECKING:
    import pandas as pd

#: Marks every row and every expert that was replayed, not run.
RECORDED = "recorded"

_NEEDED = ("question_id", "expert", "correct")
#: What each answer cost and took, with the names under which it is found; seconds, or thousandths of them.
_PROMPT_TOKENS, _COMPLETION_TOKENS = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")
_COST, _LATENCY_S, _LATENCY_MS = ("cost_usd", "cost"), ("latency_s", "latency"), ("latency_ms",)
_KNOWN: tuple[str, ...] = (*_NEEDED, "response", "completion_chars", *_PROMPT_TOKENS, *_COMPLETION_TOKENS)
_KNOWN += (*_COST, *_LATENCY_S, *_LATENCY_MS)
_MOST = float(np.iinfo(np.int32).max)


def read_answers(path: Path, tokens: pd.DataFrame, specs: list[ExpertSpec], notes: list[str]) -> pa.Table:
    """Return the ANSWERS of a folder; ``tokens`` is what :func:`read_questions` found of each question.

    Cost, tokens and latency are the recorded ones where there are any. Else tokens are estimated, and the
    cost is that of the tokens at the expert's price.
    """
    import pandas as pd

    frame = read_table(path, _NEEDED)
    note_unread(frame.columns, _KNOWN, path, notes)
    if "response" in frame:
        check_text(frame, "response", path)
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
    where = str(path)
    frame = frame[[name for name in ("question_id", "response") if name in frame]].assign(
        code=experts.codes,
        score=correct,
        row=np.arange(len(frame)),
        characters=read_amounts(frame, ["completion_chars"], where, most=_MOST),
        told_in=read_amounts(frame, _PROMPT_TOKENS, where, most=_MOST),
        told_out=read_amounts(frame, _COMPLETION_TOKENS, where, most=_MOST),
        told_usd=read_amounts(frame, _COST, where, most=1e12),
        told_s=_seconds(frame, where),
    )
    joined = frame.merge(tokens, left_on="question_id", right_on="recorded_id", suffixes=("_recorded", ""))
    if joined.empty:
        raise InputError(
            "no question_id is one of questions.parquet",
            where=f"{path}, column question_id",
            fix="use the same ids in both files",
        )
    elsewhere = ~frame["question_id"].isin(tokens["recorded_id"])
    first = f"row {int(frame.loc[elsewhere, 'row'].min()) + 1}" if elsewhere.any() else ""
    note_dropped(int(elsewhere.sum()), "their questions are not in questions.parquet", path, first, notes)
    again = joined.duplicated(["question_id", "code"])
    first = f"row {int(joined.loc[again, 'row'].iloc[0]) + 1}" if again.any() else ""
    note_dropped(int(again.sum()), "another answer of one expert to a question", path, first, notes)
    return _table(joined[~again], specs)


def _seconds(frame: pd.DataFrame, where: str) -> pd.Series:
    if any(name in frame.columns for name in _LATENCY_S):
        return read_amounts(frame, _LATENCY_S, where, most=1e9)
    return read_amounts(frame, _LATENCY_MS, where, most=1e12) / 1000


def _table(joined: pd.DataFrame, specs: list[ExpertSpec]) -> pa.Table:
    import pandas as pd

    characters = joined["characters"]
    unrecorded = np.where(joined["is_choice"], 1.0, math.nan)
    estimate = np.where(characters.isna(), unrecorded, np.ceil(characters / CHARACTERS_PER_TOKEN))
    completion_tokens = joined["told_out"].where(joined["told_out"].notna(), estimate).to_numpy()
    prompt_tokens = joined["told_in"].where(joined["told_in"].notna(), joined["prompt_tokens"]).to_numpy()
    code = joined["code"].to_numpy()
    priced = np.full(len(joined), math.nan)
    for place, spec in enumerate(specs):
        own = code == place
        priced[own] = spec.price.cost_usd(prompt_tokens[own], completion_tokens[own])
    cost_usd = joined["told_usd"].where(joined["told_usd"].notna(), priced)
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
        "prompt_tokens": pa.array(np.round(prompt_tokens), pa.float64()).cast(pa.int32()),
        "completion_tokens": pa.array(np.round(completion_tokens), pa.float64(), from_pandas=True).cast(
            pa.int32()
        ),
        "cost_usd": pa.array(cost_usd, pa.float64(), from_pandas=True),
        "latency_s": pa.array(joined["told_s"], pa.float64(), from_pandas=True).cast(pa.float32()),
        "round": pa.repeat(pa.scalar(RECORDED), n),
        "run_id": pa.repeat(pa.scalar(RECORDED), n),
        "created_at": pa.repeat(pa.scalar(datetime.now(UTC), ANSWERS.field("created_at").type), n),
    }
    return pa.table(
        [columns[f.name] if f.name in columns else pa.nulls(n, f.type) for f in ANSWERS], schema=ANSWERS
    )
