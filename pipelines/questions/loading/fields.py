"""Read one record of somebody's data as a question, or say what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any

from experts.catalogue.option_answers import AnswerWriting, is_hidden, number_of, resolve
from experts.catalogue.options import (
    Options,
    is_number,
    options_in_columns,
    options_in_prompt,
    read_options,
)
from experts.catalogue.prompts import LETTERS
from experts.grading.base import Asked
from experts.grading.grade import GRADERS
from pipelines.questions.draft import Row, question_row
from pipelines.questions.loading.columns import NAMES, found_in, refuse_misspelt
from pipelines.questions.loading.layouts import adapt, content_text
from warehouse import InputError
from warehouse.schemas import question_id

HARDEST = 2**31 - 1  # the most that the table's column holds


@dataclass(frozen=True)
class Opened:
    """A record with its parts found, its answer not yet read."""

    record: Mapping[str, Any]
    where: str
    prompt: str
    options: Options | None
    answers: list[tuple[str, Any]] = default(default_factory=list)  # columns that may hold it
    ours: bool = False  # a row of our own tables, whose answer is an index

    @property
    def used(self) -> tuple[str, ...]:
        """Columns that were read beside those of NAMES."""
        return self.options.columns if self.options else ()


def open_record(record: Mapping[str, Any], *, where: str) -> Opened:
    """Find the question, the options and the columns of the answer in a record.

    Raises:
        InputError: a field is missing, wrong or misspelt.
    """
    try:
        json.dumps(record, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.start + 1]
        raise InputError(
            f"half of a surrogate pair ({half!r}), which is no character",
            where=where,
            fix="write the whole character, or both halves of it",
        ) from None
    if _is_ours(record):
        choices = record.get("choices")
        options = Options(tuple(choices)) if choices else None
        return Opened(record, where, record["prompt"], options, [("answer", record["answer"])], ours=True)
    record = adapt(record, where)
    name, value = _find(record, "choices")
    options = read_options(value, f"{where}, field {name}") if value is not None else None
    if options is None:
        options = options_in_columns(record, where)
    refuse_misspelt(record, where, options.columns if options else ())
    prompt = _text(record, "prompt", where)
    answers = found_in(record, "answer")
    used = options.columns if options else ()
    answers = [(name, value) for name, value in answers if name not in used]
    if options is None and record.get("kind") in (None, "choice") and _find(record, "verifier")[1] is None:
        inside = options_in_prompt(prompt)
        if inside and (not answers or any(resolve(value, inside[1]) is not None for _, value in answers)):
            prompt, options = inside
    return Opened(record, where, _with_context(record, prompt, where), options, answers)


def read_question(
    opened: Opened,
    *,
    source: str,
    domain: str | None = None,
    round: str = "r000",
    writings: Mapping[str, AnswerWriting] | None = None,
) -> Row:
    """Return an opened record as a QUESTIONS row.

    Read are the columns of :data:`pipelines.questions.loading.columns.NAMES`. With options, the answer is the
    label or the text of one, its letter, or its number; text that could be several of these counts in this
    order. A multiple-choice question without an answer is kept with an empty one: it can be asked, but not
    graded.

    Args:
        opened: the record, by :func:`open_record`.
        source: where the data come from, unless the record says.
        domain: the domain of records that name none; else their subject, else ``general``.
        round: the round that the row belongs to.
        writings: for each answer column, how it writes answers; numbers from 0 where it is not said.

    Raises:
        InputError: a field is wrong.
    """
    record, where, options = opened.record, opened.where, opened.options
    verifier = _read_verifier(record, where)
    kind = record.get("kind") or ("choice" if options else "verified" if verifier else "exact")
    if kind not in GRADERS:
        raise InputError(
            f"unknown kind {kind!r}", where=f"{where}, field kind", fix="use " + ", ".join(GRADERS)
        )
    if options and kind != "choice":
        raise InputError(
            f"choices on a question of kind {kind}", where=f"{where}, field kind", fix="set kind to choice"
        )
    choices = list(options.texts) if options else None
    answer = _read_choice(opened, options, writings or {}) if options else _read_reference(opened)
    written = json.dumps(verifier) if verifier else None
    if fault := GRADERS[kind].check_question(Asked(choices, answer, written)):
        fix = fault.fix
        if fault.field == "answer" and not opened.answers:
            there = ", ".join(map(str, list(record)[:12]))
            fix += f"; or name the column that holds it: --columns answer=NAME (there are {there})"
        raise InputError(fault.says, where=f"{where}, field {_place(opened, fault.field)}", fix=fix)
    subject = _optional_text(record, "subject", where)
    return question_row(
        prompt=opened.prompt,
        choices=choices,
        answer=answer,
        kind=kind,
        verifier=verifier,
        source=_optional_text(record, "source", where) or source,
        domain=_optional_text(record, "domain", where) or domain or subject or "general",
        subject=subject,
        difficulty=_read_difficulty(record, where),
        round=round,
        parent_id=_optional_text(record, "parent_id", where),
    )


def _is_ours(record: Mapping[str, Any]) -> bool:
    prompt, choices, answer = (record.get(name) for name in ("prompt", "choices", "answer"))
    if not isinstance(prompt, str) or not isinstance(answer, str) or "question_id" not in record:
        return False
    if choices is not None and not (isinstance(choices, list) and all(isinstance(c, str) for c in choices)):
        return False
    return bool(record["question_id"] == question_id(prompt, choices, answer))


def _place(opened: Opened, field: str) -> str:
    return next((name for name, _ in opened.answers), field) if field == "answer" else field


def _find(record: Mapping[str, Any], field: str) -> tuple[str, Any]:
    return next(iter(found_in(record, field)), (field, None))


def _text(record: Mapping[str, Any], field: str, where: str) -> str:
    name, value = _find(record, field)
    if value is None:
        raise InputError(
            f"no {field}",
            where=f"{where}, field {name}",
            fix=f"give {' or '.join(NAMES[field][:4])}, or name the column: --columns {field}=NAME"
            f" (there are {', '.join(map(str, list(record)[:12]))})",
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
    return None if _find(record, field)[1] is None else _text(record, field, where)


def _with_context(record: Mapping[str, Any], prompt: str, where: str) -> str:
    """The passage that is asked about, if there is one, before the question."""
    parts = []
    for name, value in found_in(record, "context"):
        if isinstance(value, Mapping):  # PubMedQA's contexts; HotpotQA's titles and sentences
            value = next((v for key in ("contexts", "sentences", "text") if (v := value.get(key))), None)
        if isinstance(value, list):
            value = [" ".join(map(str, part)) if isinstance(part, list) else part for part in value]
        text = content_text(value, f"{where}, field {name}").strip()
        if text and text not in prompt and text not in parts:
            parts.append(text)
    return "\n\n".join([*parts, prompt])


def _read_choice(opened: Opened, options: Options, writings: Mapping[str, AnswerWriting]) -> str:
    if opened.ours:
        return str(opened.answers[0][1])
    found: dict[int, str] = {} if options.right is None else {options.right: "choices"}
    for name, value in opened.answers:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if (isinstance(value, str) and not value.strip()) or is_hidden(value, options):
            continue
        if not isinstance(value, str) and not is_number(value):
            raise _of_no_use(value, f"{opened.where}, field {name}")
        index = resolve(value, options, writings.get(name))
        if index is not None:
            found.setdefault(index, name)
        elif not found and name == opened.answers[-1][0]:
            raise _not_among(value, name, opened, options, writings.get(name, AnswerWriting()).base)
    if len(found) > 1:
        (first, one), (second, other), *_ = found.items()
        raise InputError(
            f"{one} means {LETTERS[first]} and {other} means {LETTERS[second]}",
            where=f"{opened.where}, fields {one} and {other}",
            fix=f"name the right one: --columns answer={one}",
        )
    return str(next(iter(found))) if found else ""


def _of_no_use(value: Any, where: str) -> InputError:
    if isinstance(value, list):
        told = ", ".join(map(str, value))[:60]
        return InputError(
            f"{len(value)} options are right ({told})",
            where=where,
            fix="leave such questions out, or name another column: --columns answer=NAME",
        )
    return InputError(f"the answer is {type(value).__name__}", where=where, fix="give text or a number")


def _not_among(value: Any, name: str, opened: Opened, options: Options, base: int) -> InputError:
    count = len(options.texts)
    last = LETTERS[min(count, len(LETTERS)) - 1]
    fix = f"give the text of one, its letter (A to {last}) or its index from {base}"
    if number_of(value) is not None:
        fix += f"; if numbers count from {1 - base}, pass --answers-from {1 - base}"
    return InputError(
        f"the answer {value!r} is not among the {count} choices",
        where=f"{opened.where}, field {name}",
        fix=f"{fix}; if another column holds the answer, pass --columns answer=NAME",
    )


def _read_reference(opened: Opened) -> str:
    for name, value in opened.answers:
        if not isinstance(value, str) and not is_number(value):
            raise _of_no_use(value, f"{opened.where}, field {name}")
        if str(value).strip():
            return str(value).strip()
    return ""


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
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise InputError(
            "half of a surrogate pair in the verifier, which is no character",
            where=where,
            fix="write the whole character, or both halves of it",
        ) from None
    return value


def _read_difficulty(record: Mapping[str, Any], where: str) -> int | None:
    value = record.get("difficulty")
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        value = int(value)  # of CSV, where everything is text
    if not is_number(value) or value != int(value) or not 0 <= value <= HARDEST:
        raise InputError(
            f"difficulty {value!r} is not a level", where=f"{where}, field difficulty", fix="use 0, 1, 2, ..."
        )
    return int(value)
