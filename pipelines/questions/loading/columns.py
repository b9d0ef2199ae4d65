"""Which columns of somebody's questions are read, and what is said of the others."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from experts.catalogue.options import is_missing, plain_name
from warehouse import InputError

_log = logging.getLogger(__name__)

#: The fields that are read, each with the names under which it is found, in this order. Case, blanks, dashes
#: and underscores make no difference.
NAMES = {
    "prompt": ("prompt", "question", "query", "input", "problem", "question_stem", "stem", "question_text"),
    "context": ("context", "article", "passage", "story", "document", "background"),
    "choices": ("choices", "options", "answer_choices", "endings", "alternatives"),
    "answer": (
        *("answer", "answerKey", "label", "target", "gold", "answer_index", "answer_idx", "correct_answer"),
        *("correct_option", "correct_choice", "correct_index", "correct_idx", "correct", "correct_letter"),
        *("answer_letter", "answer_text", "cop", "ideal", "ground_truth", "gold_label", "gold_index"),
        *("final_answer", "final_ans", "expected_answer", "final_decision", "reference", "answer_number"),
        *("correct_answer_id", "correct_answer_index", "correct_answer_idx", "correct_answer_letter"),
    ),
    "kind": ("kind",),
    "verifier": ("verifier",),
    "domain": ("domain", "category"),
    "subject": ("subject", "subject_name"),
    "difficulty": ("difficulty",),
    "source": ("source",),
    "parent_id": ("parent_id",),
}

_FIELD_OF = {plain_name(name): field for field, names in NAMES.items() for name in names}
_KNOWN = {plain_name(name): name for names in NAMES.values() for name in names}
#: Passed over without a word: what our own tables add, and what the known layouts have besides.
_PASSED_OVER = frozenset(
    plain_name(name)
    for name in (
        *(
            "question_id",
            "id",
            "round",
            "created_at",
            "example_id",
            "mc1_targets",
            "mc2_targets",
            "idx",
            "ind",
        ),
        "verified",  # that somebody looked at the question; not a misspelt `verifier`
    )
)
#: Likeness from which a name is taken for a misspelt one ("choice", "answers"), and from which one is named.
_MISSPELT, _ALIKE = 0.85, 0.6


def found_in(record: Mapping[str, Any], field: str) -> list[tuple[str, Any]]:
    """Return the columns of a record that hold a field, with their values, the first that counts first."""
    plain: dict[str, str] = {}
    for name, value in record.items():
        if not is_missing(value):
            plain.setdefault(plain_name(str(name)), name)
    names = [
        name if not is_missing(record.get(name)) else plain.get(plain_name(name)) for name in NAMES[field]
    ]
    return [(name, record[name]) for name in dict.fromkeys(names) if name is not None]


def map_columns(record: Mapping[str, Any], columns: Mapping[str, str], where: str) -> dict[str, Any]:
    """Return a record with columns put under the fields for which a person named them.

    Raises:
        InputError: a named column is in no record of this kind.
    """
    mapped = dict(record)
    for field, column in columns.items():
        parts = [part.strip() for part in column.split("+")]
        if missing := [part for part in parts if part not in record]:
            if field == "answer" or len(missing) < len(parts):
                continue  # absent in this record; what lacks is said of the field
            raise InputError(
                f"no column {missing[0]!r}",
                where=where,
                fix=f"name one of {', '.join(map(str, record))}",
            )
        for name in [name for name, _ in found_in(mapped, field)]:
            mapped.pop(name)
        values = [record[part] for part in parts]
        mapped[field] = values[0] if len(parts) == 1 else values
    return mapped


def unread_columns(record: Mapping[str, Any], used: Iterable[str] = ()) -> list[str]:
    """The columns of a record that have a value and are not read."""
    taken = set(used)
    return [
        name
        for name, value in record.items()
        if value is not None
        and name not in taken
        and plain_name(str(name)) not in _FIELD_OF
        and plain_name(str(name)) not in _PASSED_OVER
    ]


def refuse_misspelt(record: Mapping[str, Any], where: str, used: Iterable[str] = ()) -> None:
    """See that no field goes unread because its name is a little wrong.

    A name that ends in ``id`` is somebody's own number, and one beside the field it resembles is another.

    Raises:
        InputError: a column is named almost as a field that the record lacks.
    """
    for name in unread_columns(record, used):
        meant = _nearest(name, _MISSPELT)
        if meant is None or name.casefold().endswith("id"):
            continue
        field = _FIELD_OF[plain_name(meant)]
        if field != "context" and not found_in(record, field):
            raise InputError(
                f"there is no field {name!r}, and no {field} is given",
                where=f"{where}, field {name}",
                fix=f"call it {meant!r}, or pass --columns {field}={name}, if it is meant, else rename it",
            )


def report_unread(place: object, names: Iterable[str]) -> None:
    """Log once which columns of a file or folder were not read, and what each is nearest to."""
    told = [
        name + (f" (nearest: {near})" if (near := _nearest(name, _ALIKE)) else "")
        for name in dict.fromkeys(names)
    ]
    if told:
        _log.warning("%s: not read: %s", place, ", ".join(told))


def _nearest(name: str, likeness: float) -> str | None:
    found = difflib.get_close_matches(plain_name(str(name)), _KNOWN, n=1, cutoff=likeness)
    return _KNOWN[found[0]] if found else None
