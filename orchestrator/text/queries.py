"""The features that a predictor reads of a text (embedding and surface features), and training examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from orchestrator.text.embedder import Embedder
from warehouse import Outcomes

#: Characters at either end of a long text that are embedded; what lies between adds little, and a megabyte
#: would take seconds, in which nobody else's query is decided.
READ_AT_EITHER_END = 4_000
_ASCII = [chr(code) for code in range(128)]
_ASCII_DIGITS = "".join(filter(str.isdigit, _ASCII)).encode()
_ASCII_LETTERS_AND_SPACE = "".join(c for c in _ASCII if c.isalpha() or c.isspace()).encode()
SURFACE_FEATURES = ("log_characters", "log_lines", "digit_share", "symbol_share", "mean_word_length")


@dataclass(frozen=True)
class Queries:
    """``n`` texts as arrays."""

    embeddings: NDArray[np.float32]  # [n, d], rows of unit length
    surface: NDArray[np.float32]  # [n, len(SURFACE_FEATURES)]
    widths: tuple[int, ...]  # of the embeddings joined in a row; they sum to d

    def __len__(self) -> int:
        return len(self.embeddings)

    @cached_property
    def joined(self) -> NDArray[np.float32]:
        """Embeddings and surface side by side [n, d + s]."""
        return np.concatenate([self.embeddings, self.surface], axis=1)

    def take(self, index: NDArray[np.intp]) -> Queries:
        """Return some of the queries."""
        return Queries(self.embeddings[index], self.surface[index], self.widths)

    def part(self, number: int | None) -> NDArray[np.float32]:
        """One of the joined embeddings [n, width], or all of them for None."""
        if number is None:
            return self.embeddings
        start = sum(self.widths[:number])
        return self.embeddings[:, start : start + self.widths[number]]


@dataclass(frozen=True)
class Examples:
    """Queries with what the experts made of them, row by row."""

    queries: Queries  # [n]
    outcomes: Outcomes  # [n, m]

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, index: NDArray[np.intp]) -> Examples:
        """Return some of the examples."""
        return Examples(self.queries.take(index), self.outcomes.take(index))


def read_queries(texts: Sequence[str], embedder: Embedder) -> Queries:
    """Embed the texts and measure their surface; of a long one both ends are read, and its whole length."""
    surface = np.array([_surface(text) for text in texts], np.float32).reshape(-1, len(SURFACE_FEATURES))
    return Queries(embedder.embed([take_ends(text) for text in texts]), surface, embedder.widths)


def take_ends(text: str) -> str:
    """Return a text whole, or both ends of one of more than 8,000 characters."""
    if len(text) <= 2 * READ_AT_EITHER_END:
        return text
    return f"{text[:READ_AT_EITHER_END]}\n{text[-READ_AT_EITHER_END:]}"


def _surface(whole: str) -> tuple[float, ...]:
    text = take_ends(whole)
    length = max(len(text), 1)
    digits, letters_or_space = _count_kinds(text)
    words = max(len(text.split()), 1)
    return (
        float(np.log(max(len(whole), 1))),
        float(np.log1p(whole.count("\n"))),
        digits / length,
        (length - digits - letters_or_space) / length,
        length / words,
    )


def _count_kinds(text: str) -> tuple[int, int]:
    """Return how many characters are digits, and how many letters or blanks."""
    if text.isascii():
        rest = text.encode().translate(None, _ASCII_DIGITS)
        return len(text) - len(rest), len(rest) - len(rest.translate(None, _ASCII_LETTERS_AND_SPACE))
    digits = letters_or_space = 0
    for character, count in Counter(text).items():
        digits += count * character.isdigit()
        letters_or_space += count * (character.isalpha() + character.isspace())
    return digits, letters_or_space
