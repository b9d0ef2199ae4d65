"""Tables of answers: CSV, JSON Lines, JSON or Parquet with a row for each answer, and what the columns mean.

What the question is stands in the columns of a file of questions (docs/formats.md); beside them who answered,
how well, and what it cost. A mapping file says what names do not. ``leeroo export`` writes such a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from experts.catalogue.yaml_file import read_yaml
from pipelines.importing.base import Imported, ImportNotes, ImportOptions
from pipelines.questions.loading.columns import NAMES
from pipelines.questions.loading.records import read_records, stem_of
from warehouse import InputError

#: What is read of an answer, and the columns in which it is found; the first that is there counts.
COLUMNS: dict[str, tuple[str, ...]] = {
    "expert": ("expert", "model", "model_name", "llm"),
    "score": ("score", "correct", "grade", "reward", "rating"),
    "text": ("text", "response", "output", "completion", "reply"),
    "choice": ("choice",),
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "output_tokens"),
    "cost_usd": ("cost_usd", "cost", "spend"),
    "latency_s": ("latency_s", "latency", "duration_s"),
    "latency_ms": ("latency_ms", "duration_ms"),
    "created_at": ("created_at", "timestamp", "time"),
    "grader": ("grader",),
    "expert_version": ("expert_version",),
}
#: Columns that are never a part of a question.
_ANSWERS_ALONE = {name for names in COLUMNS.values() for name in names} - {
    alias for aliases in NAMES.values() for alias in aliases
}


class Mapped(BaseModel):
    """What a mapping file may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, str] = Field(default_factory=dict, description="field: the column that holds it")
    constants: dict[str, Any] = Field(default_factory=dict, description="field: its value in every row")
    score_range: tuple[float, float] = Field(default=(0.0, 1.0), description="worst and best score there are")


def read(path: Path, options: ImportOptions, notes: ImportNotes) -> Iterator[Imported]:
    """Yield the answers of a file or folder; see :data:`pipelines.importing.base.Read`."""
    mapped = _read_mapping(options.mapping)
    is_first = True
    for place, row in read_records(path):
        where = f"{path}, {place}"
        if is_first:
            _check_columns(mapped, row, where, options)
        is_first = False
        row = {k: v for k, v in row.items() if k not in mapped.columns.values()} | {
            field: row.get(column) for field, column in mapped.columns.items()
        }
        row |= mapped.constants
        found = {field: _first(row, names) for field, names in COLUMNS.items()}
        told = {field: None if name is None else row[name] for field, name in found.items()}
        taken = {*found.values(), *_ANSWERS_ALONE}
        question = {name: value for name, value in row.items() if name not in taken and _is_told(value)}
        question.setdefault("source", options.source or stem_of(path))
        if told["expert"] is None:
            names = " or ".join(COLUMNS["expert"][:2])
            notes.faults.append(InputError("nobody answered", where=where, fix=f"fill in {names}"))
            continue
        latency_s = _number(told["latency_s"])
        if latency_s is None and isinstance(thousandths := _number(told["latency_ms"]), int | float):
            latency_s = thousandths / 1000
        yield Imported(
            where=where,
            question=question,
            expert=str(told["expert"]),
            score=_score(told["score"], mapped.score_range),
            text=None if told["text"] is None else str(told["text"]),
            choice=told["choice"] if type(told["choice"]) is int else None,
            prompt_tokens=_number(told["prompt_tokens"]),
            completion_tokens=_number(told["completion_tokens"]),
            cost_usd=_number(told["cost_usd"]),
            latency_s=latency_s,
            created_at=_time(told["created_at"], where, notes),
            grader=None if told["grader"] is None else str(told["grader"]),
            expert_version=None if told["expert_version"] is None else str(told["expert_version"]),
        )


def _read_mapping(path: Path | None) -> Mapped:
    if path is None:
        return Mapped()
    _, content = read_yaml(path)
    try:
        mapped = Mapped.model_validate(content or {})
    except ValidationError as failure:
        error = failure.errors()[0]
        place = ".".join(map(str, error["loc"]))
        raise InputError(
            str(error["msg"]), where=f"{path}, field {place}", fix="give columns, constants or score_range"
        ) from None
    known = (*COLUMNS, *NAMES)
    for name in (*mapped.columns, *mapped.constants):
        if name not in known:
            raise InputError(f"there is no field {name!r}", where=str(path), fix=f"use {', '.join(known)}")
    if mapped.score_range[0] == mapped.score_range[1]:
        raise InputError("score_range is a single score", where=str(path), fix="give the worst and the best")
    return mapped


def _check_columns(mapped: Mapped, row: Mapping[str, Any], where: str, options: ImportOptions) -> None:
    for field, column in mapped.columns.items():
        if column not in row:
            told = ", ".join(map(str, list(row)[:20]))
            raise InputError(
                f"no column {column!r} for {field}", where=str(options.mapping), fix=f"name one of {told}"
            )
    has_expert = "expert" in mapped.columns or "expert" in mapped.constants
    if not has_expert and not any(name in row for name in COLUMNS["expert"]):
        raise InputError(
            f"no column says who answered ({', '.join(COLUMNS['expert'])})",
            where=where,
            fix="name it in a mapping file: columns: {expert: NAME}, or constants: {expert: NAME}",
        )


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if _is_told(row.get(name))), None)


def _is_told(value: Any) -> bool:
    return value is not None and value != "" and value == value


def _score(value: Any, between: tuple[float, float]) -> Any:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    score, (worst, best) = _number(value), between
    if isinstance(score, bool) or not isinstance(score, int | float) or between == (0.0, 1.0):
        return score
    return (score - worst) / (best - worst)


def _number(value: Any) -> Any:
    """Return a number that CSV has as text; what is none is left for the check to name."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _time(value: Any, where: str, notes: ImportNotes) -> datetime | None:
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        elif isinstance(value, int | float):
            value = datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        notes.faults.append(
            InputError(f"{value!r} is no time", where=where, fix="write it as 2026-01-31T12:00:00Z")
        )
        return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
