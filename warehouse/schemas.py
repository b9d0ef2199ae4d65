"""Arrow schemas of the warehouse tables: the contracts by which data crosses folders.

Every schema carries its version in its metadata (``leeroo.schema``). Columns are only ever added; a reader
fills columns that an older file lacks with null.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from warehouse.errors import InputError

SCHEMA_VERSION = 1


def _schema(name: str, fields: Sequence[tuple[str, pa.DataType]], required: Sequence[str]) -> pa.Schema:
    return pa.schema(
        [pa.field(column, kind, nullable=column not in required) for column, kind in fields],
        metadata={"leeroo.table": name, "leeroo.schema": str(SCHEMA_VERSION)},
    )


#: One row per question. ``answer`` is the index of the right choice as text ("0", "1", ...) when ``kind`` is
#: ``choice``, else the reference answer. ``verifier`` is JSON ``{"name": ..., "payload": {...}}`` when
#: ``kind`` is ``verified``. ``difficulty`` runs from 0 (easiest) upwards within a subject. ``source`` is what
#: the last import called it; ``sources`` has all that it was brought under, null where that is one.
QUESTIONS = _schema(
    "questions",
    [
        ("question_id", pa.string()),
        ("source", pa.string()),
        ("domain", pa.string()),
        ("subject", pa.string()),
        ("prompt", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("answer", pa.string()),
        ("kind", pa.string()),  # choice | exact | verified | judged
        ("verifier", pa.string()),
        ("difficulty", pa.int32()),
        ("round", pa.string()),
        ("parent_id", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("sources", pa.list_(pa.string())),
    ],
    required=["question_id", "source", "domain", "prompt", "answer", "kind"],
)

#: What a backend returns for each question, before grading.
RAW_ANSWERS = _schema(
    "raw_answers",
    [
        ("question_id", pa.string()),
        ("text", pa.string()),
        ("choice", pa.int32()),  # index of the chosen option, null for free-form
        ("choice_logprobs", pa.list_(pa.float32())),  # one per option
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("latency_s", pa.float32()),
        ("error", pa.string()),  # null, or "Class: message"; a failed answer is a row, not an absence
        ("cost_usd", pa.float64()),  # as billed or recorded; null: its tokens at the expert's price
    ],
    required=["question_id"],
)

#: One row per (question, expert, expert_version). ``score`` is null when ``error`` is set or ungradable.
ANSWERS = _schema(
    "answers",
    [
        ("question_id", pa.string()),
        ("expert", pa.string()),
        ("expert_version", pa.string()),
        ("text", pa.string()),
        ("choice", pa.int32()),
        ("choice_logprobs", pa.list_(pa.float32())),
        ("score", pa.float32()),
        ("grader", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("cost_usd", pa.float64()),
        ("latency_s", pa.float32()),
        ("error", pa.string()),
        ("round", pa.string()),
        ("run_id", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
    ],
    required=["question_id", "expert", "expert_version"],
)

#: One row per (answer, grader): the score that a judge gave an answer which no rule can grade.
JUDGEMENTS = _schema(
    "judgements",
    [
        ("question_id", pa.string()),
        ("expert", pa.string()),
        ("expert_version", pa.string()),
        ("grader", pa.string()),  # judge:<expert>/<version>/<way>/<rubric>@<version>
        ("score", pa.float32()),
        ("explanation", pa.string()),
        ("cost_usd", pa.float64()),  # of the judge; its own rows are among the answers
        ("round", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
    ],
    required=["question_id", "expert", "expert_version", "grader", "score"],
)

#: One row per routed request of homes before there was ``traffic``; nothing is written here any more, and the
#: view of this name is over both.
DECISIONS = _schema(
    "decisions",
    [
        ("request_id", pa.string()),
        ("router_version", pa.string()),
        ("experts", pa.list_(pa.string())),
        ("predicted_success", pa.list_(pa.float32())),
        ("predicted_cost_usd", pa.list_(pa.float64())),
        ("multiplier", pa.float64()),
        ("expert", pa.string()),
        ("fallbacks", pa.list_(pa.string())),
        ("cost_usd", pa.float64()),
        ("latency_s", pa.float32()),
        ("key_id", pa.string()),
        ("feedback_score", pa.float32()),
        ("round", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
    ],
    required=["request_id", "router_version", "expert"],
)

#: One row per request that was answered, where it may be recorded. ``predicted_*`` and ``propensities`` are
#: aligned with ``experts``, ``tried_why`` with ``tried``. The hashes are keyed with a key of the home: equal
#: texts are equal here, and nobody finds the text by guessing without the key.
TRAFFIC = _schema(
    "traffic",
    [
        ("request_id", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("round", pa.string()),  # serve-YYYY-MM-DD
        ("key_id", pa.string()),
        ("router_version", pa.string()),  # null where the request named its expert
        ("role", pa.string()),  # champion | challenger | named | shadow
        ("canary_share", pa.float64()),  # chance of being drawn for the challenger; null without a canary
        ("canary", pa.bool_()),  # drawn for it, whoever decided in the end
        ("preset", pa.string()),
        ("multiplier", pa.float64()),
        ("experts", pa.list_(pa.string())),  # that the router forecasts and this request allowed
        ("predicted_success", pa.list_(pa.float32())),
        ("predicted_cost_usd", pa.list_(pa.float64())),
        ("propensities", pa.list_(pa.float64())),  # chance with which each was to be asked first; sum is 1
        ("explored", pa.bool_()),  # drawn, and not the greedy choice
        ("chosen", pa.string()),  # asked first
        ("expert", pa.string()),  # whose answer was given
        ("expert_version", pa.string()),
        ("tried", pa.list_(pa.string())),  # asked before it, in vain
        ("tried_why", pa.list_(pa.string())),  # kind of failure, or why the answer was not usable
        ("asked", pa.list_(pa.string())),  # several for one answer; else empty
        ("cost_usd", pa.float64()),  # of all attempts
        ("answer_cost_usd", pa.float64()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("decide_s", pa.float32()),
        ("first_token_s", pa.float32()),  # null where the answer came whole
        ("latency_s", pa.float32()),
        ("finish_reason", pa.string()),
        ("form", pa.string()),  # that the answer had to have
        ("task", pa.string()),  # the request's metadata.task
        ("user_hash", pa.string()),
        ("conversation_hash", pa.string()),
        ("text_hash", pa.string()),
        ("embedder", pa.string()),  # name and checksum of its weights
        ("embedding", pa.list_(pa.float32())),
        ("surface", pa.list_(pa.float32())),
        ("recording", pa.string()),  # features | texts
    ],
    required=["request_id", "role", "expert", "recording"],
)

#: What people say of an answer; several rows may be about one request, and of one author the last counts.
#: ``comment`` and ``demonstration`` are texts: they are kept only where the request's texts are.
FEEDBACK = _schema(
    "feedback",
    [
        ("feedback_id", pa.string()),
        ("request_id", pa.string()),
        ("conversation_hash", pa.string()),
        ("level", pa.string()),  # request | conversation
        ("expert", pa.string()),  # who answered
        ("key_id", pa.string()),
        ("kind", pa.string()),  # score | thumb | demonstration | comment | label
        ("score", pa.float32()),  # in [0, 1]; null where none was given
        ("source", pa.string()),  # api | playground | import
        ("comment", pa.string()),
        ("demonstration", pa.string()),  # the answer as it should have been
        ("round", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
    ],
    required=["feedback_id", "request_id", "level", "kind", "source"],
)

TABLES: dict[str, pa.Schema] = {
    "questions": QUESTIONS,
    "answers": ANSWERS,
    "judgements": JUDGEMENTS,
    "decisions": DECISIONS,
    "traffic": TRAFFIC,
    "feedback": FEEDBACK,
}

#: The columns that make a row unique. Appending a row whose key is already there does nothing.
KEYS: dict[str, tuple[str, ...]] = {
    "questions": ("question_id",),
    "answers": ("question_id", "expert", "expert_version"),
    "judgements": ("question_id", "expert", "expert_version", "grader"),
    "decisions": ("request_id",),
    "traffic": ("request_id",),
    "feedback": ("feedback_id",),
}

#: Tables whose keys never come in two rounds: to know what is there, one round is read and not all of them.
KEYS_OF_ONE_ROUND = frozenset({"traffic"})


def normalise_text(text: str) -> str:
    """Fold what does not change a question: Unicode form, case and runs of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def question_id(prompt: str, choices: Sequence[str] | None, answer: str) -> str:
    """Return the content hash (16 hex digits) that names a question for ever.

    The same content gives the same id wherever it came from; the order of the choices counts, since a
    model may depend on it. ``answer`` is as in :data:`QUESTIONS`.
    """
    parts = [normalise_text(prompt), *(normalise_text(c) for c in choices or ()), normalise_text(answer)]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def router_text(prompt: str, choices: Sequence[str] | None) -> str:
    """What the router reads of a question: the prompt, then the choices, one a line."""
    return "\n".join([prompt, *choices]) if choices else prompt


def text_keys(texts: Sequence[str]) -> NDArray[np.uint64]:
    """One number per text [n]: equal for texts that differ only in case, spaces or order of lines.

    Questions are told apart by the keys of their prompts: split by these, never by row.
    """
    digests = (
        hashlib.blake2b("\n".join(sorted(map(normalise_text, text.splitlines()))).encode(), digest_size=8)
        for text in texts
    )
    return np.array([int.from_bytes(digest.digest(), "little") for digest in digests], np.uint64)


def table_schema(table_name: str) -> pa.Schema:
    """Return a table's schema.

    Raises:
        InputError: there is no such table.
    """
    if table_name not in TABLES:
        raise InputError(f"no table is called {table_name!r}", fix=f"use one of {', '.join(TABLES)}")
    return TABLES[table_name]


def conform(table_name: str, rows: pa.Table) -> pa.Table:
    """Return the rows with exactly the table's columns and types; absent optional columns become null.

    ``created_at`` is filled with the present moment where absent.

    Raises:
        InputError: a required column is absent or holds nulls, a column is unknown, or a type differs.
    """
    schema = table_schema(table_name)
    unknown = [name for name in rows.column_names if name not in schema.names]
    if unknown:
        raise InputError(
            f"unknown column {unknown[0]!r}",
            where=f"table {table_name}",
            fix=f"use {', '.join(schema.names)}",
        )
    columns = []
    for field in schema:
        where = f"table {table_name}, column {field.name}"
        if field.name in rows.column_names:
            try:
                column = rows[field.name].cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
                raise InputError(f"cannot be read as {field.type}: {error}", where=where) from error
        elif field.name == "created_at":
            now = pa.scalar(datetime.now(UTC), field.type)
            column = pa.chunked_array([pa.repeat(now, rows.num_rows)])
        else:
            column = pa.chunked_array([pa.nulls(rows.num_rows, field.type)])
        if not field.nullable and column.null_count:
            row = pc.index(column.is_null(), True).as_py()
            raise InputError("a required value is missing", where=f"{where}, row {row + 1}", fix="fill it in")
        columns.append(column)
    return pa.table(columns, schema=schema)


def readable(schema: pa.Schema) -> pa.Schema:
    """Allow nulls everywhere: an older file may lack any column."""
    return pa.schema([field.with_nullable(True) for field in schema], metadata=schema.metadata)


def fill_round(rows: pa.Table, round: str) -> pa.Table:
    """Put rows that name no round into this one; a table without rounds stays as it is."""
    place = rows.schema.get_field_index("round")
    if place < 0 or not rows["round"].null_count:
        return rows
    return rows.set_column(place, rows.schema.field(place), pc.fill_null(rows["round"], round))
