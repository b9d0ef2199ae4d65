"""Read one record of somebody's data as a question, or say what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pipelines.questions.draft import Row, question_row
from pipelines.questions.loading.columns import NAMES, refuse_misspelt
from warehouse import InputError
from warehouse.schemas import normalise_text, question_id

KINDS = ("choice", "exact", "verified", "judged")
HARDEST = 2**31 - 1  # the most that the table's column holds
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def read_question(
    record: Mapping[str, Any], *, where: str, source: str, domain: str | None = None, round: str = "r000"
) -> Row:
    """Return the record as a QUESTIONS row.

    Read are the columns of :data:`pipelines.questions.loading.columns.NAMES`. With choices, the answer is the
    text of one, its letter or its index from 0; text that could be several of these is a choice's text before
    a letter before an index. In a record whose ``question_id`` fits its content, which is a row of ours, it
    is the index.

    Args:
        record: column -> value.
        where: the place in the data, for messages.
        source: where the data come from, unless the record says.
        domain: the domain of records that name none; else their subject, else ``general``.
        round: the round that the row belongs to.

    Raises:
        InputError: a field is missing, wrong or misspelt.
    """
    try:
        row = _read_row(record, where=where, source=source, domain=domain, round=round)
        json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.start + 1]
        raise InputError(
            f"half of a surrogate pair ({half!r}), which is no character",
            where=where,
            fix="write the whole character, or both halves of it",
        ) from None
    return row


def _read_row(record: Mapping[str, Any], *, where: str, source: str, domain: str | None, round: str) -> Row:
    refuse_misspelt(record, where)
    prompt = _text(record, "prompt", where)
    choices = _read_choices(record, where)
    verifier = _read_verifier(record, where)
    kind = record.get("kind") or ("choice" if choices else "verified" if verifier else "exact")
    if kind not in KINDS:
        raise InputError(
            f"unknown kind {kind!r}", where=f"{where}, field kind", fix="use " + ", ".join(KINDS)
        )
    if kind == "choice" and not choices:
        raise InputError(
            "a choice question without choices", where=f"{where}, field choices", fix="list two or more"
        )
    if kind == "verified" and not verifier:
        raise InputError(
            "a verified question without a verifier",
            where=f"{where}, field verifier",
            fix='give {"name": ..., "payload": {...}}',
        )
    if choices and kind != "choice":
        raise InputError(
            f"choices on a question of kind {kind}", where=f"{where}, field kind", fix="set kind to choice"
        )
    subject = _optional_text(record, "subject", where)
    return question_row(
        prompt=prompt,
        choices=choices,
        answer=_read_answer(record, choices, where, optional=kind in ("judged", "verified")),
        kind=kind,
        verifier=verifier,
        source=_optional_text(record, "source", where) or source,
        domain=_optional_text(record, "domain", where) or domain or subject or "general",
        subject=subject,
        difficulty=_read_difficulty(record, where),
        round=round,
        parent_id=_optional_text(record, "parent_id", where),
    )


def _find(record: Mapping[str, Any], field: str) -> tuple[str, Any]:
    for name in NAMES[field]:
        value = record.get(name)
        if value is not None and not (isinstance(value, float) and math.isnan(value)):
            return name, value
    return field, None


def _text(record: Mapping[str, Any], field: str, where: str) -> str:
    name, value = _find(record, field)
    if value is None or value == "":
        raise InputError(
            f"no {field}",
            where=f"{where}, field {name}",
            fix="give " + " or ".join(NAMES[field]),
        )
    if not isinstance(value, str):
        raise InputError(
            f"{field} is {type(value).__name__}, not text",
            where=f"{where}, field {name}",
            fix="put it in quotes",
        )
    if not value.strip():
        raise InputError(
            f"{field} is blank", where=f"{where}, field {name}", fix="fill it in or drop the row"
        )
    return value


def _optional_text(record: Mapping[str, Any], field: str, where: str) -> str | None:
    return None if _find(record, field)[1] in (None, "") else _text(record, field, where)


def _read_choices(record: Mapping[str, Any], where: str) -> list[str] | None:
    name, value = _find(record, "choices")
    place = f"{where}, field {name}"
    if value is None:
        return None
    if isinstance(value, Mapping) and "text" in value:  # ARC: {"text": [...], "label": [...]}
        value = value["text"]
    if not isinstance(value, list | tuple) or not all(isinstance(c, str) or _is_number(c) for c in value):
        raise InputError("choices are not a list of texts", where=place, fix='write them as ["...", "..."]')
    choices = [str(choice) for choice in value]
    if not choices:
        return None
    if len(choices) < 2:
        raise InputError("one choice only", where=place, fix="give two or more")
    if any(not choice.strip() for choice in choices):
        raise InputError("a choice is blank", where=place, fix="fill it in or drop it")
    for i, choice in enumerate(choices):
        if choice.strip() in (other.strip() for other in choices[:i]):
            raise InputError(f"duplicated choice {choice!r}", where=place, fix="make every choice different")
    return choices


def _read_answer(record: Mapping[str, Any], choices: list[str] | None, where: str, *, optional: bool) -> str:
    name, value = _find(record, "answer")
    place = f"{where}, field {name}"
    if value is None or (isinstance(value, str) and not value.strip()):
        if optional:
            return ""
        raise InputError("no answer", where=place, fix="give the right answer, or drop the question")
    if not isinstance(value, str) and not _is_number(value):
        raise InputError(f"the answer is {type(value).__name__}", where=place, fix="give text or a number")
    if choices is None:
        return str(value).strip()
    ours = record.get("question_id") == question_id(str(_find(record, "prompt")[1]), choices, str(value))
    index = None if ours else _position(value, _find(record, "choices")[1])
    if index is None:
        index = _answer_index(int(value) if ours else value, choices, labels=_labels(record))
    if index is None:
        last = LETTERS[min(len(choices), len(LETTERS)) - 1]
        raise InputError(
            f"the answer {value!r} is not among the {len(choices)} choices",
            where=place,
            fix=f"give the text of one, its letter (A to {last}) or its index from 0",
        )
    return str(index)


def _position(value: str | float, choices: Any) -> int | None:
    """Where a number stands among options that are numbers themselves: there it is no index."""
    if isinstance(value, str) or not isinstance(choices, list | tuple) or not all(map(_is_number, choices)):
        return None
    return list(choices).index(value) if value in choices else None


def _labels(record: Mapping[str, Any]) -> list[str]:
    value = _find(record, "choices")[1]
    return [str(label) for label in value.get("label") or ()] if isinstance(value, Mapping) else []


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _answer_index(value: str | float, choices: list[str], *, labels: list[str]) -> int | None:
    """Return the index that an answer means: by label, exact text, folded text, letter, then number."""
    if isinstance(value, str):
        text = value.strip()
        if text in labels:
            return labels.index(text)
        for fold in (str.strip, normalise_text):
            matches = [i for i, choice in enumerate(choices) if fold(choice) == fold(value)]
            if len(matches) == 1:
                return matches[0]
        if len(text) == 1 and text.upper() in LETTERS[: len(choices)]:
            return LETTERS.index(text.upper())
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() and 0 <= number < len(choices) else None


def _read_verifier(record: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    value = record.get("verifier")
    if value in (None, ""):
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise InputError(
                f"the verifier is not JSON ({error.msg})",
                where=f"{where}, field verifier",
                fix="write an object",
            ) from None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise InputError(
            "the verifier names no checker",
            where=f"{where}, field verifier",
            fix='give {"name": ..., "payload": {...}}',
        )
    return value


def _read_difficulty(record: Mapping[str, Any], where: str) -> int | None:
    value = record.get("difficulty")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not _is_number(value) or value != int(value) or not 0 <= value <= HARDEST:
        raise InputError(
            f"difficulty {value!r} is not a level", where=f"{where}, field difficulty", fix="use 0, 1, 2, ..."
        )
    return int(value)
