"""The options of a multiple-choice question, in every form in which files hold them."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experts.catalogue.prompts import LETTERS
from warehouse import InputError

# A column for each option: what its name begins with, and its letter or number.
_OPTION_COLUMN = re.compile(
    r"(option|optiontext|opt|op|choice|choicetext|answer|ans|alternative|alt|candidate|ending|sol|solution|)"
    r"([a-j]|\d{1,2})"
)
_LABEL_KEYS = ("label", "key", "id", "letter", "option", "index", "name", "option_label")
_TEXT_KEYS = ("text", "value", "content", "option_text", "choice", "answer", "option")
_RIGHT_KEYS = ("is_correct", "correct", "isCorrect", "is_answer")
# "1.5" and "1:30" are no option 1.
_MARK = r"(?:\(([A-Ja-j]|\d{1,2})\)|([A-Ja-j]|\d{1,2})\s?(?:\)|[.:](?!\d)))"
_LABELLED = re.compile(rf"\s*{_MARK}\s*(.*)", re.DOTALL)
# Options within a prompt: each on a line of its own, or in brackets one after another on one.
_ON_LINES = re.compile(r"^[ \t]*(?:\(([A-Ja-j])\)|([A-Ja-j])\s?[).:])[ \t]*(\S.*)$", re.MULTILINE)
_IN_BRACKETS = re.compile(r"(?<!\w)\(([A-J])\)\s?([^()]*(?:\((?![A-J]\))[^()]*\)[^()]*)*)")
_DASHES = re.compile(r"^\s*options:?\s*\n((?:[ \t]*[-*•][ \t]*\S.*\n?){2,})", re.IGNORECASE | re.MULTILINE)
_NUMPY_ARRAY = re.compile(r"\barray\((\[[^\[\]]*\])(?:,\s*dtype=[^()]{1,20})?\)")
_HEADING = re.compile(r"\s*(?:(?:answer )?(?:options|choices):?)?\s*$", re.IGNORECASE)


def plain_name(name: str) -> str:
    """Return a column's name without case, blanks, dashes, underscores and brackets."""
    return "".join(c for c in name.casefold() if c.isalnum())


def is_missing(value: Any) -> bool:
    """Tell whether a value is none: null, NaN or blank text."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or value == ""


@dataclass(frozen=True)
class Options:
    """Texts in their order, the labels beside them if there are any, and which is marked as right."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    right: int | None = None
    numbers: tuple[Any, ...] = ()  # the options as they were, where all are numbers
    columns: tuple[str, ...] = ()  # that they were read from


def read_options(value: Any, place: str, *, to_ask: bool = True) -> Options | None:
    """Return the options that one value holds, None where it is an empty list.

    Options that are to be asked must be two or more, and differ; a label in front of each is taken off. What
    was asked elsewhere stays as it was: its words are its identity.

    Read are lists of texts; dictionaries from label to text; ``{"text": [...], "label": [...]}``; lists of
    objects with a label and a text, or of one-entry objects; any of these written as text (JSON, Python or
    NumPy); and texts with labels in them ("a) 1, b) 2").

    Raises:
        InputError: it is none of these, or its options cannot be asked (one only, blank, or equal ones).
    """
    if isinstance(value, str):
        value = _from_text(value)
    numbers: tuple[Any, ...] = ()
    if isinstance(value, Mapping):
        texts, labels, right = _from_mapping(value)
        numbers = tuple(texts) if all(map(is_number, texts)) else ()
    elif isinstance(value, list | tuple):
        texts, labels, right = _from_list(value)
        numbers = tuple(value) if value and all(map(is_number, value)) else ()
    else:
        texts, labels, right = [None], [], None
    if not all(isinstance(text, str) or is_number(text) for text in texts):
        raise InputError(
            "choices are not a list of texts",
            where=place,
            fix='write them as ["...", "..."], or pass --columns choices=A+B+C with a column for each',
        )
    choices = [str(text) for text in texts]
    if not choices:
        return None
    if to_ask:
        if not labels:
            choices, labels = _without_labels(choices)
        _check(choices, place)
        _check_labels(labels, len(choices), place)
    return Options(tuple(choices), tuple(labels), right, numbers)


def options_in_columns(record: Mapping[str, Any], place: str) -> Options | None:
    """Return the options of a record that has a column for each ("A", "option_b", "choice1"), or None."""
    families: dict[str, dict[str, str]] = {}
    for name in record:
        if found := _OPTION_COLUMN.fullmatch(plain_name(str(name))):
            families.setdefault(found[1], {}).setdefault(found[2].upper(), name)
    for prefix, names in families.items():
        for labels in (LETTERS[:10], [str(i) for i in range(20)], [str(i) for i in range(1, 20)]):
            if prefix == "" and labels[0].isdigit():
                continue
            columns = [names[label] for label in labels if label in names]
            run = [label for label in labels[: len(columns)] if label in names]
            if len(run) < 2 or len(run) != len(columns) or len(columns) != len(names):
                continue
            while run and is_missing(record[names[run[-1]]]):
                run.pop()
            if len(run) < 2:
                continue
            texts = ["" if is_missing(record[names[label]]) else str(record[names[label]]) for label in run]
            texts, _ = _without_labels(texts)
            _check(texts, f"{place}, fields {columns[0]} to {columns[len(run) - 1]}")
            # "option1" says nothing of where the answer's numbers count from.
            return Options(tuple(texts), () if labels[0].isdigit() else tuple(run), columns=tuple(columns))
    return None


def options_in_prompt(prompt: str) -> tuple[str, Options] | None:
    """Split a prompt that holds its options into what is asked and the options; None where it holds none.

    >>> options_in_prompt("Which is a metal?\\nA) neon\\nB) iron")[0]
    'Which is a metal?'
    >>> options_in_prompt("Is it (A) or not?") is None
    True
    """
    for pattern in (_ON_LINES, _IN_BRACKETS):
        marks = list(pattern.finditer(prompt))
        for first in range(len(marks) - 1, -1, -1):  # the last list counts: examples may stand before it
            run = marks[first:]
            labels = [next(g for g in mark.groups()[:-1] if g).upper() for mark in run]
            if labels[0] != "A":
                continue
            if len(run) < 2 or labels != list(LETTERS[: len(run)]):
                break
            texts = [mark.groups()[-1].strip(" \n;,") for mark in run]
            asked = _HEADING.sub("", prompt[: run[0].start()])
            rest = prompt[run[-1].end() :].strip()
            if all(texts) and len(set(texts)) == len(texts) and asked.strip() and len(rest) <= 40:
                return asked.strip(), Options(tuple(texts), tuple(labels))
            break
    if (dashes := _DASHES.search(prompt)) and not prompt[dashes.end() :].strip():
        texts = [line.strip(" \t-*•") for line in dashes[1].splitlines() if line.strip()]
        if len(set(texts)) == len(texts) and prompt[: dashes.start()].strip():
            return prompt[: dashes.start()].strip(), Options(tuple(texts))
    return None


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number, and no truth value."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _from_text(text: str) -> Any:
    bare = _NUMPY_ARRAY.sub(r"\1", text.strip())
    if bare[:1] in ("[", "{", "("):
        for read in (json.loads, ast.literal_eval):
            try:
                value = read(bare)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            # Adjacent texts without commas are NumPy's way to print an array; Python would join them.
            if isinstance(value, list | tuple | dict) and not (read is ast.literal_eval and _is_numpy(bare)):
                return value
        if bare.startswith("["):
            return list(_numpy_items(bare))
    labelled = list(re.finditer(rf"(?:^|[\s,;|]){_MARK}\s*", bare))
    labels = [next(g for g in mark.groups() if g).upper() for mark in labelled]
    if len(labels) > 1 and labels in (list(LETTERS[: len(labels)]), [str(i + 1) for i in range(len(labels))]):
        ends = [*(mark.start() for mark in labelled[1:]), len(bare)]
        texts = [bare[mark.end() : end].strip(" ,;|\n") for mark, end in zip(labelled, ends, strict=True)]
        return dict(zip(labels, texts, strict=True))
    for mark in ("\n", "|", ";"):
        if bare.count(mark):
            return [part.strip() for part in bare.split(mark) if part.strip()]
    return text


def _is_numpy(text: str) -> bool:
    return bool(re.search(r"""(?<=['"])\s+(?=['"])""", text)) and not re.search(r"""['"]\s*,\s*['"]""", text)


def _numpy_items(text: str) -> Iterator[str]:
    for item in re.finditer(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", text):
        yield re.sub(r"\\(.)", r"\1", item[1] if item[1] is not None else item[2])


def _from_mapping(value: Mapping[Any, Any]) -> tuple[list[Any], list[str], int | None]:
    names = {plain_name(str(key)): key for key in value}
    for text in ("text", "texts", "choices", "options"):
        inner = value.get(names.get(text))
        if isinstance(inner, list | tuple):
            labels = (
                next((value[names[n]] for n in ("label", "labels", "key", "id") if n in names), None) or ()
            )
            is_marked = bool(labels) and all(label in (0, 1) for label in labels)  # TruthfulQA's targets
            if is_marked and (text == "choices" or len(set(labels)) < len(labels)):
                return list(inner), [], list(labels).index(1) if list(labels).count(1) == 1 else None
            return list(inner), [str(label) for label in labels], None
    kept = {str(key).strip(): text for key, text in value.items() if not is_missing(text)}
    labels = list(kept)
    found = [_OPTION_COLUMN.fullmatch(plain_name(label)) for label in labels]
    if labels and all(found):
        order = sorted(range(len(labels)), key=lambda i: (len(found[i][2]), found[i][2]))  # type: ignore[index]
        marks = [found[i][2].upper() for i in order]  # type: ignore[index]
        return [kept[labels[i]] for i in order], marks, None
    return [None], [], None


def _from_list(value: Sequence[Any]) -> tuple[list[Any], list[str], int | None]:
    if not value or not all(isinstance(item, Mapping) for item in value):
        if value and all(isinstance(item, list | tuple) and len(item) == 2 for item in value):
            return [item[1] for item in value], [str(item[0]) for item in value], None
        return list(value), [], None
    texts: list[Any] = []
    labels: list[str] = []
    right: list[int] = []
    for place, item in enumerate(value):
        text_key = next((k for k in _TEXT_KEYS if k in item), None)
        label_key = next((k for k in _LABEL_KEYS if k in item and k != text_key), None)
        if text_key is None and len(item) == 1:
            (label, text), *_ = item.items()
            texts.append(text)
            labels.append(str(label))
            continue
        texts.append(item.get(text_key))
        if label_key is not None:
            labels.append(str(item[label_key]))
        if any(item.get(k) in (True, 1, "true", "True") for k in _RIGHT_KEYS):
            right.append(place)
    return texts, labels if len(labels) == len(texts) else [], right[0] if len(right) == 1 else None


def _without_labels(texts: list[str]) -> tuple[list[str], list[str]]:
    """Take "A) " off options that all begin with their own letter or number."""
    found = [_LABELLED.fullmatch(text) for text in texts]
    if len(texts) < 2 or not all(found):
        return texts, []
    marks = [(mark[1] or mark[2]).upper() for mark in found if mark]
    bare = [mark[3] for mark in found if mark]
    wanted = (list(LETTERS[: len(texts)]), [str(i + 1) for i in range(len(texts))])
    return (bare, marks) if marks in wanted and all(text.strip() for text in bare) else (texts, [])


def _check(choices: list[str], place: str) -> None:
    if len(choices) < 2:
        raise InputError("one choice only", where=place, fix="give two or more")
    if any(not choice.strip() for choice in choices):
        raise InputError("a choice is blank", where=place, fix="fill it in or drop it")
    for i, choice in enumerate(choices):
        if choice.strip() in (other.strip() for other in choices[:i]):
            raise InputError(f"duplicated choice {choice!r}", where=place, fix="make every choice different")


def _check_labels(labels: list[str], count: int, place: str) -> None:
    if labels and len(labels) != count:
        raise InputError(
            f"{len(labels)} labels for {count} choices", where=place, fix="give every choice one label"
        )
    twice = next((label for i, label in enumerate(labels) if label in labels[:i]), None)
    if twice is not None:
        raise InputError(f"two choices have the label {twice!r}", where=place, fix="give each its own")
