"""Which option an answer means; whether its numbers count from 0 or from 1 is decided over the whole file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from experts.catalogue.options import Options, is_number, plain_name
from experts.catalogue.prompts import LETTERS
from warehouse import normalise_text

_LETTER = re.compile(
    r"[\s(\[{*\"'$\\]*(?:boxed\{|text\{)*(?:(?:option|choice|answer|opt|op|ans)[\s_.-]*)?[(\[]?([A-Za-z])[)\]}.:*\"'$\s]*",
    re.IGNORECASE,
)
_LETTER_THEN_TEXT = re.compile(r"\s*\(?([A-Z])[).:]\s*(\S.*)", re.DOTALL)


@dataclass
class NumberBase:
    """What the numbers of one answer column say of where they count from."""

    zeros: str | None = None  # the first place with a 0
    counts: str | None = None  # the first place whose number is that of the last option, counted from 1
    agrees: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})  # with another column of the answer
    numbers: int = 0

    @property
    def base(self) -> int:
        """0 or 1, whichever the file shows; 0 where it shows nothing."""
        if self.agrees[0] != self.agrees[1]:
            return int(self.agrees[1] > self.agrees[0])
        return int(self.zeros is None and self.counts is not None)

    @property
    def is_certain(self) -> bool:
        """Whether the file shows it."""
        return self.zeros is not None or self.counts is not None or self.agrees[0] != self.agrees[1]


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
    for fold in (str.strip, normalise_text):
        matches = [i for i, option in enumerate(options.texts) if fold(option) == fold(value)]
        if len(matches) == 1:
            return matches[0]
    letters = [label.upper() for label in labels] if labels and all(map(str.isalpha, labels)) else LETTERS
    letters = list(letters)[: len(options.texts)]
    found = _LETTER.fullmatch(text)
    if found and found[1].upper() in letters:
        return letters.index(found[1].upper())
    if (both := _LETTER_THEN_TEXT.fullmatch(text)) and both[1] in letters:
        index = letters.index(both[1])
        if normalise_text(both[2]) == normalise_text(options.texts[index]):
            return index
    plain = [plain_name(column) for column in options.columns]
    return plain.index(plain_name(text)) if plain_name(text) in plain else None


def resolve(value: Any, options: Options, base: int) -> int | None:
    """Return the option that a value means, None if it means none."""
    index = by_text_or_label(value, options)
    if index is not None:
        return index
    number = number_of(value)
    if number is None:
        return None
    return number - base if 0 <= number - base < len(options.texts) else None


def is_hidden(value: Any, options: Options) -> bool:
    """Tell whether a value says that the answer is kept back: -1, as in test splits."""
    return number_of(value) == -1 and by_text_or_label(value, options) is None


def learn_bases(
    questions: Iterable[tuple[str, Options, list[tuple[str, Any]]]],
) -> Mapping[str, NumberBase]:
    """Return for each answer column where its numbers count from.

    Args:
        questions: place, options and the answer's columns with their values, of every question.
    """
    bases: dict[str, NumberBase] = {}
    for place, options, values in questions:
        named = [index for _, value in values if (index := by_text_or_label(value, options)) is not None]
        for column, value in values:
            number = number_of(value)
            if number is None or number < 0 or by_text_or_label(value, options) is not None:
                continue
            seen = bases.setdefault(column, NumberBase())
            seen.numbers += 1
            if number == 0:
                seen.zeros = seen.zeros or place
            elif number == len(options.texts):
                seen.counts = seen.counts or place
            if named and number - named[0] in (0, 1):
                seen.agrees[number - named[0]] += 1
    return bases
