"""Which option an answer means; how a column writes its answers is decided over the whole file.

That is where its numbers count from, and whether a "B" beside an option "B" is its text or the second letter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from experts.catalogue.options import Options, is_number, plain_name
from experts.catalogue.prompts import LETTERS
from warehouse import normalise_text

_LETTER = re.compile(
    r"[\s(\[{*\"'$\\]*(?:boxed\{|text\{)*(?:(?:option|choice|answer|opt|op|ans)[\s_.-]*)?[(\[]?([A-Za-z])[)\]}.:*\"'$\s]*",
    re.IGNORECASE,
)
_LETTER_THEN_TEXT = re.compile(r"\s*\(?([A-Z])[).:]\s*(\S.*)", re.DOTALL)


Style = Literal["text", "letter", "number"]


@dataclass(frozen=True)
class AnswerWriting:
    """How a column writes its answers.

    Attributes:
        base: what its numbers count from.
        style: what all of its answers are that can be read in one way only; None where they differ. Those
            that can be read in several ways are read so.
    """

    base: int = 0
    style: Style | None = None


@dataclass
class AnswerColumn:
    """What the answers of one column show of how they are written."""

    zeros: str | None = None  # the first place with a 0
    counts: str | None = None  # the first place whose number is that of the last option, counted from 1
    agrees: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})  # with another column of the answer
    numbers: int = 0
    styles: Counter[Style] = field(default_factory=Counter)  # of answers that can be read in one way only

    @property
    def base(self) -> int:
        """0 or 1, whichever the file shows; 0 where it shows nothing."""
        if self.agrees[0] != self.agrees[1]:
            return int(self.agrees[1] > self.agrees[0])
        return int(self.zeros is None and self.counts is not None)

    @property
    def is_certain(self) -> bool:
        """Whether the file shows where its numbers count from."""
        return self.zeros is not None or self.counts is not None or self.agrees[0] != self.agrees[1]

    @property
    def writing(self) -> AnswerWriting:
        """How the column is read."""
        return AnswerWriting(self.base, next(iter(self.styles)) if len(self.styles) == 1 else None)


def number_of(value: Any) -> int | None:
    """Return the whole number that a value is or writes ("2", 2.0), or None."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,6}(?:\.0+)?\s*", value):
        return int(float(value))
    if is_number(value) and value == int(value) and abs(value) < 10**6:
        return int(value)
    return None


def by_text_or_label(value: Any, options: Options) -> int | None:
    """Return the option that a value names otherwise than by its number: label, own text, or letter."""
    if options.numbers and is_number(value):
        return options.numbers.index(value) if value in options.numbers else None
    text = str(value).strip()
    labels = [label.strip() for label in options.labels]
    if text in labels and (isinstance(value, str) or labels != [str(i) for i in range(len(labels))]):
        return labels.index(text)
    if not isinstance(value, str):
        return None
    if (index := _by_text(value, options)) is not None or (index := _by_letter(value, options)) is not None:
        return index
    letters = _letters(options)
    if (both := _LETTER_THEN_TEXT.fullmatch(text)) and both[1] in letters:
        index = letters.index(both[1])
        if normalise_text(both[2]) == normalise_text(options.texts[index]):
            return index
    plain = [plain_name(column) for column in options.columns]
    return plain.index(plain_name(text)) if plain_name(text) in plain else None


def _by_text(value: Any, options: Options) -> int | None:
    if not isinstance(value, str):
        return None
    for fold in (str.strip, normalise_text):
        matches = [i for i, option in enumerate(options.texts) if fold(option) == fold(value)]
        if len(matches) == 1:
            return matches[0]
    return None


def _by_letter(value: Any, options: Options) -> int | None:
    found = _LETTER.fullmatch(value.strip()) if isinstance(value, str) else None
    letters = _letters(options)
    return letters.index(found[1].upper()) if found and found[1].upper() in letters else None


def _letters(options: Options) -> list[str]:
    labels = [label.strip().upper() for label in options.labels]
    letters = labels if labels and all(map(str.isalpha, labels)) else list(LETTERS)
    return letters[: len(options.texts)]


def _by_number(value: Any, options: Options, base: int) -> int | None:
    number = number_of(value)
    return number - base if number is not None and 0 <= number - base < len(options.texts) else None


def resolve(value: Any, options: Options, writing: AnswerWriting | None = None) -> int | None:
    """Return the option that a value means, None if it means none.

    A label comes first, then what the column's other answers are, then text, letter and number.
    """
    writing = writing or AnswerWriting()
    is_label = str(value).strip() in [label.strip() for label in options.labels]
    if not is_label and writing.style in ("letter", "number"):
        by_letter = writing.style == "letter"
        index = _by_letter(value, options) if by_letter else _by_number(value, options, writing.base)
        if index is not None:
            return index
    index = by_text_or_label(value, options)
    return _by_number(value, options, writing.base) if index is None else index


def is_hidden(value: Any, options: Options) -> bool:
    """Tell whether a value says that the answer is kept back: -1, as in test splits."""
    return number_of(value) == -1 and by_text_or_label(value, options) is None


def learn_writing(
    questions: Iterable[tuple[str, Options, list[tuple[str, Any]]]],
) -> Mapping[str, AnswerColumn]:
    """Return for each answer column what its answers show.

    Args:
        questions: place, options and the answer's columns with their values, of every question.
    """
    columns: dict[str, AnswerColumn] = {}
    for place, options, values in questions:
        meant = [by_text_or_label(value, options) for _, value in values]
        named = [index for index in meant if index is not None]
        for (column, value), index in zip(values, meant, strict=True):
            seen = columns.setdefault(column, AnswerColumn())
            if (style := _only_style(value, options)) is not None:
                seen.styles[style] += 1
            number = number_of(value)
            if number is None or number < 0 or index is not None:
                continue
            seen.numbers += 1
            if number == 0:
                seen.zeros = seen.zeros or place
            elif number == len(options.texts):
                seen.counts = seen.counts or place
            if named and number - named[0] in (0, 1):
                seen.agrees[number - named[0]] += 1
    return columns


def _only_style(value: Any, options: Options) -> Style | None:
    """Return what a value is if it can be read in one way only."""
    number = number_of(value)
    readings: dict[Style, bool] = {
        "text": _by_text(value, options) is not None or bool(options.numbers and value in options.numbers),
        "letter": _by_letter(value, options) is not None,
        "number": number is not None and 0 <= number <= len(options.texts),
    }
    possible = [style for style, is_read in readings.items() if is_read]
    return possible[0] if len(possible) == 1 else None
