"""The details of a question that an embedding of its words hardly sees, and that change its answer.

A mean of word vectors is nearly the same for two numbers, two names or two quoted words, with and without a
``not``, and exactly the same in any order of the words.
"""

from __future__ import annotations

import re

_DETAILS = re.compile(
    r"""
    \d+(?:[.,:/]\d+)*                        # numbers, dates, times
    | "[^"]*" | '[^']*' | `[^`]*` | “[^”]*” | «[^»]*»   # what is quoted
    | (?<![.!?\n]\ )(?<!^)\b[A-Z]\w*         # names: capitals within a sentence
    | [\u00b2\u00b3\u00b9\u2070-\u209f]       # exponents and indices
    | \b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty
        |seventy|eighty|ninety|hundred|thousand|million|half|double|twice)\b
    | \b(?:not|cannot|no|never|none|nobody|without|except)\b
    | \b(?:least|most|first|last|before|after|more|less|fewer)\b
    | n[’']t\b
    | [^\w\s.,;:?!'’"]                      # signs, as in formulas: minus and brackets too
    """,
    re.VERBOSE,
)
_WORD = re.compile(r"\w+")


def details_of(question: str) -> list[str]:
    """Return the details of a question, in their order.

    >>> details_of('Is "9 km" from Rome to Oslo not far?')
    ['"9 km"', 'Rome', 'Oslo', 'not']
    """
    return _DETAILS.findall(question)


def words_of(question: str) -> tuple[str, ...]:
    """Return the words of a question, in their order."""
    return tuple(_WORD.findall(question.lower()))


def is_reordered(words: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Tell whether two questions have the same words in another order.

    >>> is_reordered(words_of("Is a cat larger than a dog?"), words_of("Is a dog larger than a cat?"))
    True
    """
    return words != others and sorted(words) == sorted(others)
