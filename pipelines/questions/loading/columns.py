"""Which columns of somebody's questions are read, and what is said of the others."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from warehouse import InputError

_log = logging.getLogger(__name__)

#: The fields that are read, each with the names under which it is found, in this order.
NAMES = {
    "prompt": ("prompt", "question", "query", "input"),
    "choices": ("choices", "options"),
    "answer": ("answer", "answerKey", "label", "target"),
    "kind": ("kind",),
    "verifier": ("verifier",),
    "domain": ("domain", "category"),
    "subject": ("subject",),
    "difficulty": ("difficulty",),
    "source": ("source",),
    "parent_id": ("parent_id",),
}
_FIELD_OF = {name: field for field, names in NAMES.items() for name in names}
#: Passed over without a word: what our own tables add, and what the known layouts have besides.
_PASSED_OVER = frozenset(
    (
        *("question_id", "id", "round", "created_at"),
        *("example_id", "article", "question_stem", "mc1_targets", "mc2_targets"),
        "verified",  # that somebody looked at the question; not a misspelt `verifier`
    )
)
#: Likeness from which a name is taken for a misspelt one ("choice", "answers"), and from which one is named.
_MISSPELT, _ALIKE = 0.85, 0.6


def unread_columns(record: Mapping[str, Any]) -> list[str]:
    """The columns of a record that have a value and are not read."""
    return [
        name
        for name, value in record.items()
        if value is not None and name not in _FIELD_OF and name not in _PASSED_OVER
    ]


def refuse_misspelt(record: Mapping[str, Any], where: str) -> None:
    """See that no field goes unread because its name is a little wrong.

    A name that ends in ``id`` is somebody's own number, and one beside the field it resembles is another.

    Raises:
        InputError: a column is named almost as a field that the record lacks.
    """
    for name in unread_columns(record):
        meant = _nearest(name, _MISSPELT)
        if meant is None or name.casefold().endswith("id"):
            continue
        field = _FIELD_OF[meant]
        if all(record.get(known) is None for known in NAMES[field]):
            raise InputError(
                f"there is no field {name!r}, and no {field} is given",
                where=f"{where}, field {name}",
                fix=f"call it {meant!r} if it is meant, else give it another name",
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
    known = {_plain(field_name): field_name for field_name in _FIELD_OF}
    found = difflib.get_close_matches(_plain(name), known, n=1, cutoff=likeness)
    return known[found[0]] if found else None


def _plain(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "").replace(" ", "")
