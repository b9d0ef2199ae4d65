"""An import from its files to the warehouse: all is read and checked first, then written, or nothing is."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from experts import ExpertSpec, grade
from experts.backends.base import RawAnswer, raw_table
from experts.grading.parsing import parse_choice
from pipelines.importing.base import Imported, ImportNotes, ImportOptions
from pipelines.importing.registry import ImportKind
from pipelines.questions.draft import Row, questions_table
from pipelines.questions.loading.fields import Opened, open_record, read_question
from pipelines.questions.loading.question_file import Reading, answer_writings
from pipelines.questions.loading.report import LoadReport
from warehouse import ANSWERS, InputError, LeerooError, Warehouse
from warehouse.filing import Filing

_MOST_TOKENS = 2**31 - 1
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
#: What readers come upon where a list stands for an object, a word for a number, and the like.
_MISSHAPEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Found:
    """The answers of one expert to the questions of one source, as an import has them."""

    expert: str
    source: str
    answers: int
    scored: int
    mean_score: float | None
    priced: int
    cost_usd: float
    new: int


@dataclass(frozen=True)
class ImportPlan:
    """What an import would write, or why it writes nothing."""

    questions: pa.Table
    answers: Mapping[str, pa.Table]  # by expert
    found: tuple[Found, ...]
    notes: ImportNotes = field(default_factory=ImportNotes)


def plan_import(
    kind: ImportKind,
    paths: Sequence[Path],
    options: ImportOptions,
    warehouse: Warehouse,
    *,
    round: str,
    specs: Mapping[str, ExpertSpec],
    names: Mapping[str, str] | None = None,
) -> ImportPlan:
    """Read and check files; nothing is written.

    Args:
        kind: of the files.
        paths: files, or folders where the kind reads them.
        options: what the files do not say.
        warehouse: which answers are there already.
        round: what new questions and answers are filed under.
        specs: the catalogue's experts by name: their answers count as those of their present version, and
            what cost nothing known is priced as they were when it was answered.
        names: our names of experts by those that the files have, whole or the last part of a path.
    """
    notes = ImportNotes()
    answers = list(_read(kind, paths, options, notes))
    answers = [replace(one, expert=_our_name(one.expert, names or {}, specs)) for one in answers]
    opened = [_open(one, notes) for one in answers]
    writings = answer_writings([one for one in opened if one], Reading(), LoadReport())
    rows: list[tuple[Imported, Row]] = []
    seen: dict[tuple[str, str], str] = {}
    for one, read in zip(answers, opened, strict=True):
        row = _row(one, read, writings, round, notes)
        faults = _faults(one, [] if row is None else row["choices"] or [])
        notes.faults += faults
        if row is None or faults:
            continue
        if one.score is None and not (one.text or "").strip():
            notes.pass_over("it has neither a score nor a text", one.where)
        elif (first := seen.setdefault((row["question_id"], one.expert), one.where)) != one.where:
            notes.pass_over(f"another answer of {one.expert} to a question; the first counts", one.where)
            notes.tell(f"{one.where} answers what {first} does")
        else:
            rows.append((one, row))
    notes.told[:] = [*notes.told[:20], *(["..."] if len(notes.told) > 20 else [])]
    if not rows and not notes.faults:
        raise InputError(
            "no answer in it that could be used" + "".join(f"; {why}" for why in notes.passed_over),
            where=", ".join(map(str, paths)),
            fix="check the kind and the files",
        )
    table = questions_table(list({row["question_id"]: row for _, row in rows}.values()))
    by_expert = {
        name: _answers([pair for pair in rows if pair[0].expert == name], kind, specs.get(name), round)
        for name in dict.fromkeys(one.expert for one, _ in rows)
    }
    return ImportPlan(table, by_expert, tuple(_found(by_expert, rows, warehouse)), notes)


def write_import(
    plan: ImportPlan, warehouse: Warehouse, *, round: str, keep_rounds: Collection[str] = ()
) -> tuple[Filing, int]:
    """Write a plan without faults; return how its questions were filed, and how many answers were new."""
    if plan.notes.faults:
        raise plan.notes.faults[0]
    filing = warehouse.file_questions(plan.questions, round=round, keep_rounds=keep_rounds)
    written = sum(
        warehouse.append("answers", rows, round=round, expert=name) for name, rows in plan.answers.items()
    )
    return filing, written


def _read(
    kind: ImportKind, paths: Sequence[Path], options: ImportOptions, notes: ImportNotes
) -> list[Imported]:
    found: list[Imported] = []
    for path in paths:
        try:
            if not path.exists():
                raise InputError("no such file", where=str(path), fix="check the path")
            found += kind.read(path, options, notes)
        except InputError as error:
            notes.faults.append(error)
        except LeerooError:
            raise
        except _MISSHAPEN as error:
            told = f"it does not have the shape of {kind.name} ({type(error).__name__})"
            notes.faults.append(InputError(told, where=str(path), fix="check the kind and the file"))
    return found


def _our_name(told: str, names: Mapping[str, str], specs: Mapping[str, ExpertSpec]) -> str:
    """Return who somebody is here: as it was said, else an expert whose name a path ends in, else as told."""
    last = told.rstrip("/").rpartition("/")[2]
    is_known = told not in specs and last in specs
    return names.get(told, names.get(last, last if is_known else told)).strip()


def _open(one: Imported, notes: ImportNotes) -> Opened | None:
    try:
        opened = open_record(one.question, where=one.where)
        if opened.options is None and not opened.answers and not one.question.get("kind"):
            opened = replace(opened, record={**opened.record, "kind": "judged"})  # nothing to grade by
    except InputError as error:
        notes.faults.append(error)
        return None
    return opened


def _row(one: Imported, opened: Opened | None, writings: Any, round: str, notes: ImportNotes) -> Row | None:
    if opened is None:
        return None
    try:
        return read_question(opened, source="imported", round=round, writings=writings)
    except InputError as error:
        notes.faults.append(error)
        return None


def _faults(one: Imported, choices: Sequence[str]) -> list[InputError]:
    """Return what is wrong with the figures and the words of an answer."""
    found = []
    if not one.expert or not one.expert.isprintable():
        found.append(InputError(f"the expert's name is {one.expert!r}", where=one.where, fix="name it"))
    if one.score is not None and not (_is_number(one.score) and 0 <= one.score <= 1):
        fix = "give a share, or the range of scores in a mapping file"
        found.append(InputError(f"the score {one.score!r} is not from 0 to 1", where=one.where, fix=fix))
    usage = one.usage
    counts: tuple[tuple[str, Any], ...] = (
        ("prompt_tokens", one.prompt_tokens if usage is None else usage.prompt),
        ("completion_tokens", one.completion_tokens if usage is None else usage.completion),
    )
    for name, value in counts:
        is_count = _is_number(value) and 0 <= value <= _MOST_TOKENS and value == int(value)
        if value is not None and not is_count:
            fix = "give whole tokens"
            found.append(InputError(f"{name} {value!r} is no count", where=one.where, fix=fix))
    for name, unit in (("cost_usd", "dollars"), ("latency_s", "seconds")):
        value = getattr(one, name)
        if value is not None and not (_is_number(value) and 0 <= value < 1e9):
            fix = f"give {unit}, 0 or more"
            found.append(InputError(f"{name} {value!r} cannot be", where=one.where, fix=fix))
    if choices and one.choice is not None and not 0 <= one.choice < len(choices):
        fix = "give the place of an option, 0 for the first"
        found.append(InputError(f"there is no option {one.choice!r}", where=one.where, fix=fix))
    for name in ("text", "grader", "expert_version"):
        if not _is_unicode(getattr(one, name)):
            fix = "write the whole character, or both halves of it"
            found.append(InputError(f"{name} has half of a surrogate pair", where=one.where, fix=fix))
    if one.created_at is not None and not _EARLIEST <= one.created_at.replace(tzinfo=UTC) <= _LATEST:
        fix = "give the time of the answer"
        found.append(InputError(f"created_at {one.created_at} cannot be", where=one.where, fix=fix))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float) and abs(value) < math.inf  # whatever the size of an int


def _is_unicode(text: str | None) -> bool:
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        return False
    return True


def _answers(
    rows: Sequence[tuple[Imported, Row]], kind: ImportKind, spec: ExpertSpec | None, round: str
) -> pa.Table:
    """Return ANSWERS rows of one expert; what has no score and can be graded is, as our own answers are."""
    now = datetime.now(UTC)
    raw = [_raw(one, row, spec, now) for one, row in rows]
    questions = questions_table([row for _, row in rows])
    graded = grade(questions, raw_table([row["question_id"] for _, row in rows], raw))
    told = pa.array([None if one.score is None else float(one.score) for one, _ in rows], pa.float32())
    graders = pa.array(
        [None if one.score is None else one.grader or f"import:{kind.name}" for one, _ in rows], pa.string()
    )
    name = rows[0][0].expert
    columns = {name: graded[name] for name in graded.column_names} | {
        "score": pc.coalesce(told, graded["score"].combine_chunks()),
        "grader": pc.coalesce(graders, graded["grader"].combine_chunks()),
        "expert": pa.repeat(pa.scalar(name), len(rows)),
        "expert_version": pa.array([one.expert_version or _version(name, spec) for one, _ in rows]),
        "round": pa.repeat(pa.scalar(round), len(rows)),
        "run_id": pa.repeat(pa.scalar(f"import:{kind.name}"), len(rows)),
        "created_at": pa.array([one.created_at or now for one, _ in rows], ANSWERS.field("created_at").type),
    }
    return pa.table([columns[field.name] for field in ANSWERS], schema=ANSWERS)


def _raw(one: Imported, row: Row, spec: ExpertSpec | None, now: datetime) -> RawAnswer:
    prompt, completion, cost_usd = one.prompt_tokens, one.completion_tokens, one.cost_usd
    price = None if spec is None else spec.price_at(one.created_at or now)
    if one.usage is not None:
        prompt = one.usage.prompt if prompt is None else prompt
        completion = one.usage.completion if completion is None else completion
        if cost_usd is None and price is not None:
            cost_usd = one.usage.cost_usd(price, is_batch=one.is_batch)
    if cost_usd is None and price is not None and prompt is not None and completion is not None:
        cost_usd = price.cost_usd(float(prompt), float(completion), is_batch=one.is_batch)
    choice = one.choice if row["choices"] else None
    if choice is None and row["choices"] and one.text:
        choice = parse_choice(one.text, row["choices"])
    return RawAnswer(
        text=one.text,
        choice=choice,
        prompt_tokens=None if prompt is None else int(prompt),
        completion_tokens=None if completion is None else int(completion),
        latency_s=None if one.latency_s is None else float(one.latency_s),
        cost_usd=None if cost_usd is None else float(cost_usd),
    )


def _version(name: str, spec: ExpertSpec | None) -> str:
    """One version of an expert for all that is imported: outcomes are those of a single version."""
    return spec.version if spec else hashlib.sha256(f"imported\0{name}".encode()).hexdigest()[:12]


def _found(
    by_expert: Mapping[str, pa.Table], rows: Sequence[tuple[Imported, Row]], warehouse: Warehouse
) -> list[Found]:
    source_of = {row["question_id"]: row["source"] for _, row in rows}
    found = []
    for expert, table in by_expert.items():
        sources = pa.array([source_of[identity] for identity in table["question_id"].to_pylist()])
        is_new = warehouse.missing("answers", table, expert=expert)
        for source in pc.unique(sources).to_pylist():
            own = pc.equal(sources, source)
            part, new = table.filter(own), pc.sum(is_new.filter(own)).as_py() or 0
            found.append(
                Found(
                    expert=expert,
                    source=source,
                    answers=part.num_rows,
                    scored=part.num_rows - part["score"].null_count,
                    mean_score=pc.mean(part["score"]).as_py(),
                    priced=part.num_rows - part["cost_usd"].null_count,
                    cost_usd=pc.sum(part["cost_usd"]).as_py() or 0.0,
                    new=new,
                )
            )
    return found
