"""Labels from elsewhere: a JSONL file of what people say of answers, by request id."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from warehouse import FEEDBACK, InputError, Warehouse

FIELDS = ("request_id", "score", "thumb", "demonstration", "comment")
#: Lines that are named one by one; of further ones there is a count.
MOST_NAMED = 20
_ROUND = "labels"


@dataclass(frozen=True)
class Refused:
    """A line that was left out."""

    line: int
    why: str


@dataclass(frozen=True)
class ImportedLabels:
    """What an import did.

    Attributes:
        lines: that say anything.
        written: rows that are new.
        known: lines that were imported before.
        refused: lines that were left out, and why.
        texts_dropped: comments and demonstrations of requests whose texts are not kept: only scores stay.
    """

    lines: int
    written: int
    known: int
    refused: tuple[Refused, ...]
    texts_dropped: int


def import_labels(path: Path, warehouse: Warehouse) -> ImportedLabels:
    """Read labels and keep them as feedback; what is wrong with a line keeps the others from nothing.

    A line is an object with ``request_id`` and one or more of ``score`` (0 to 1), ``thumb`` (``up``,
    ``down``, true, false, 1 or 0), ``demonstration`` (the answer as it should have been) and ``comment``. A
    second line on one request is refused as a duplicate. The same file again adds nothing.

    Raises:
        InputError: the file cannot be read, or not one of its lines can be used.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the file cannot be read ({error})", where=str(path)) from None
    served = _served(warehouse)
    rows: list[dict[str, Any]] = []
    refused: list[Refused] = []
    seen: dict[str, int] = {}
    dropped = told = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        told += 1
        try:
            label = _read_label(line)
            name = label["request_id"]
            if name in seen:
                raise ValueError(f"request {name!r} stands in line {seen[name]} already")
            if name not in served:
                raise ValueError(f"no request {name!r} is recorded")
        except ValueError as error:
            refused.append(Refused(number, str(error)))
            continue
        seen[name] = number
        if served[name]["recording"] != "texts":
            dropped += sum(label.pop(key, None) is not None for key in ("demonstration", "comment"))
            if "score" not in label:
                continue
        rows.append(_row(label, served[name]))
    if told and len(refused) == told:
        first = refused[0]
        raise InputError(
            f"none of its {told} lines can be used; {first.why}", where=f"{path}, line {first.line}",
            fix='write one object a line: {"request_id": "...", "score": 0.5}',
        )  # fmt: skip
    written = 0
    if rows:
        columns = [name for name in FEEDBACK.names if name in rows[0] or any(name in row for row in rows)]
        table = pa.table({
            name: pa.array([row.get(name) for row in rows], FEEDBACK.field(name).type) for name in columns
        })  # fmt: skip
        written = warehouse.append("feedback", table, round=_ROUND)
    return ImportedLabels(told, written, len(rows) - written, tuple(refused), dropped)


def name_refused(path: Path, refused: tuple[Refused, ...]) -> list[str]:
    """A line for each of the first that were left out, and a count of the rest by reason."""
    named = [f"{path}, line {one.line}: {one.why}" for one in refused[:MOST_NAMED]]
    rest = Counter(one.why.split(" '")[0] for one in refused[MOST_NAMED:])
    return named + [f"{count} more: {why}" for why, count in rest.most_common()]


def _read_label(line: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(told, dict):
        raise ValueError("not an object")
    if unknown := sorted(told.keys() - set(FIELDS)):
        raise ValueError(f"unknown field {unknown[0]!r}; known are {', '.join(FIELDS)}")
    name = told.get("request_id")
    if not isinstance(name, str) or not name:
        raise ValueError("request_id is missing")
    label: dict[str, Any] = {"request_id": name}
    if told.get("score") is not None and told.get("thumb") is not None:
        raise ValueError("score and thumb are both given")
    if (score := told.get("score")) is not None:
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise ValueError(f"score {score!r} is no number")
        if not 0 <= score <= 1:
            raise ValueError(f"score {score:g} is not in 0..1")
        label["score"] = float(score)
    elif (thumb := told.get("thumb")) is not None:
        if not isinstance(thumb, str | int) or thumb not in (1, 0, "up", "down"):
            raise ValueError(f"thumb {thumb!r} is neither up nor down")
        label |= {"score": float(thumb in (1, "up")), "is_thumb": True}
    for key in ("demonstration", "comment"):
        if (text := told.get(key)) is not None:
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{key} is no text")
            label[key] = text
    if len(label) == 1:
        raise ValueError("it says nothing: give score, thumb, demonstration or comment")
    return label


def _row(label: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    is_thumb = label.pop("is_thumb", False)
    parts = json.dumps(label, sort_keys=True)
    kind = "thumb" if is_thumb else "label" if "score" in label else \
        "demonstration" if "demonstration" in label else "comment"  # fmt: skip
    return {
        **label,
        "feedback_id": "label-" + hashlib.sha256(parts.encode()).hexdigest()[:24],
        "level": "request",
        "kind": kind,
        "source": "import",
        "expert": request["expert"],
        "key_id": request["key_id"],
        "conversation_hash": request["conversation_hash"],
    }


def _served(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    columns = ["request_id", "expert", "key_id", "conversation_hash", "recording"]
    rows = warehouse.scan("traffic", columns)
    return {row["request_id"]: row for row in rows.to_pylist()}
