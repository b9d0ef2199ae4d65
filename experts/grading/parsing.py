"""Reading an answer out of generated text."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence

from experts.catalogue.prompts import LETTERS
from experts.grading.json_answer import json_answers
from experts.grading.letters import (
    after_denial,
    chosen_letters,
    fold_letters,
    leading_letter,
    letter_verdicts,
    mentioned_letter,
)
from experts.grading.markup import find_boxes, join_digit_groups, text_macros_removed, unwrap
from experts.grading.plain import plain_text
from warehouse import normalise_text

# Reading is linear in the text: every run in a pattern is bounded, what nests is matched by counting, and of
# the statements of one kind only the last so many are looked at.
_STATEMENTS = 40
_LONGEST_CLAUSE = 1000

_ANSWER_TAG = re.compile(r"<(/?)\s{0,3}(?:final_?)?answer\s{0,3}>", re.IGNORECASE)
# Four hashes are the mark of GSM8K, and also a heading in Markdown: a heading states nothing.
_HEADING = re.compile(
    r"(?:step|part|case|explanation|solution|reasoning|analysis|conclusion|check|verification|summary|option|choice)\b"
    r"|(?:the )?(?:final |correct )?answer\b",
    re.IGNORECASE,
)
_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]{0,8}(?=\S)")
_ANSWER_HEADING = re.compile(
    r"^#{1,6}[ \t*]{0,8}((?:final |correct )?answer)[ \t*]{0,8}:?[ \t*]{0,8}$", re.IGNORECASE | re.MULTILINE
)
_VERB = r"(?:\b(?:is|was|(?:would|should|must|has to|appears to|seems to) be)\b|:|：|=|->|=>|→|⇒|[-–—](?=\s))"
_FILLER = (
    r"(?:(?:clearly|therefore|thus|indeed|likely|most likely|probably|definitely|simply|obviously|hence|then"
    r"|actually|certainly|surely|still|just)\b[,:]?\s{1,3}){0,2}"
)
# The clause is only looked at, so that of two on one line both are found.
_SAID = re.compile(
    r"(?<!\bthis )(?<!\bthat )(?:\banswer\b|\bans\b\.?|\bfinal result\b)(?:\s(?:choice|option|letter|key)\b)?"
    r"(?:\s{1,3}(?:to|for|of)\s{1,3}[^.:\n]{1,80}?)?"
    rf"(?:[\s*_]{{0,8}}\((?:final|letter|number)\))?[\s*_\"']{{0,8}}{_VERB}[\s:*_$]{{0,12}}{_FILLER}(?=(\S.{{0,{_LONGEST_CLAUSE}}}))",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"(?<!\b[A-Z])(?<!\b(?:Dr|St|Mr|Ms|Mt|Ft))(?<!\b(?:Mrs|Gen|Col|Rev))[.!?][*_$\"']*\s+(?=[A-Z*\"(\\]).*"
)
_REASON = re.compile(r"(?<=\S)(?:,\s*not|,?\s+(?:because|since))\b.*")


def parse_choice(text: str, choices: Sequence[str]) -> int | None:
    r"""Return the index of the option that ``text`` names, by letter or in its own words, or None.

    In this order: what is stated in JSON or in an ``<answer>`` tag, what is said or marked to be the answer
    (the last first), the beginning of the text, its first line, and a letter that is spoken of and not ruled
    out.

    >>> parse_choice("The answer is (B).", ["3", "4"]), parse_choice("Paris", ["Rome", "Paris"])
    (1, 1)
    >>> parse_choice('{"answer": "B"}', ["3", "4"])
    1
    """
    return _Options(choices).read(fold_letters(plain_text(text)))


class _Options:
    """The options of a question, as they are met in a text."""

    def __init__(self, choices: Sequence[str]) -> None:
        self._letters = LETTERS[: len(choices)]
        self._written = choices
        self._texts = [normalise_text(unwrap(choice)) for choice in choices]
        self._longest = max(map(len, self._texts), default=0)

    def read(self, text: str, depth: int = 0) -> int | None:
        text = _headings_as_clauses(join_digit_groups(text))
        if depth < 2:
            for answer in json_answers(text):
                if (index := self.read(answer, depth + 1)) is not None:
                    return index
        for candidate in (*_tagged(text), *self._stated(text)):
            if (index := self._named(candidate)) is not None:
                return index
        if verdicts := letter_verdicts(text, self._written):
            right = [letter for letter, is_right in verdicts.items() if is_right]
            if len(right) == 1:
                return self._index(right[0])
        for candidate in (text, _first_line(text)):
            index = self._named(candidate)
            if index is not None and verdicts.get(self._letters[index : index + 1], True):
                return index
        letter = mentioned_letter(text, self._letters)
        return self._index(letter) if letter else None

    def _stated(self, text: str) -> Iterator[str]:
        """Clauses and marks that state an answer, from the last to the first."""
        found = [*_said(text), *_boxed(text), *_hashed(text)]
        found += deque(chosen_letters(text), maxlen=_STATEMENTS)
        for _, statement in sorted(found, reverse=True):
            yield statement

    def _named(self, candidate: str) -> int | None:
        r"""The option that a candidate is, or with whose letter it begins: "B", "(B) 4", ``\text{B}``."""
        if (instead := after_denial(candidate)) is not None:
            candidate = instead
        folded = None
        if len(candidate) <= 4 * self._longest + 200:  # no longer text is one of the options
            folded = normalise_text(unwrap(candidate))
            if len(folded) > 1 and self._texts.count(folded) == 1:
                return self._texts.index(folded)
        if letter := leading_letter(text_macros_removed(candidate)):
            index = self._index(letter)
            if index is not None:
                return index
        return self._texts.index(folded) if folded and self._texts.count(folded) == 1 else None

    def _index(self, letter: str) -> int | None:
        found = self._letters.find(letter)
        return found if found >= 0 else None


def final_answer(text: str) -> str:
    r"""Return the part of ``text`` that states the answer, out of its wrapping.

    In this order: what is stated in JSON, the last ``<answer>`` tag, ``\boxed{}``, ``####`` line, "answer
    is" clause, else the first line that is not blank. A clause ends with its sentence, or at its reason.

    >>> final_answer("3 and 4 make 7.\n#### 7"), final_answer("The answer is **Paris**, since it is.")
    ('7', 'Paris')
    """
    return stated_answer(text)[0]


def stated_answer(text: str) -> tuple[str, bool]:
    """Return what :func:`final_answer` does, and whether it was marked or said to be the answer.

    What was not is the first line, in which any prose may stand.
    """
    return _state(plain_text(text), 0)


def _state(text: str, depth: int) -> tuple[str, bool]:
    text = _headings_as_clauses(join_digit_groups(text))
    if depth < 2 and (answers := json_answers(text)):
        return _state(answers[0], depth + 1)[0], True
    if tagged := next(_tagged(text), None):
        return tagged, True
    for statements in (_boxed(text), _hashed(text), _said(text)):
        if found := next((stated for _, stated in reversed(statements) if stated), None):
            return found, True
    return unwrap(_first_line(text)), False


def _headings_as_clauses(text: str) -> str:
    return _ANSWER_HEADING.sub(r"\1:", text)


def _tagged(text: str) -> Iterator[str]:
    """The last ``<answer>`` tag; one that is not closed ends with the text (generation stops at the tag)."""
    opened: int | None = None
    found: str | None = None
    for tag in _ANSWER_TAG.finditer(text):
        if not tag[1]:
            opened = tag.end()
        elif opened is not None:
            found, opened = text[opened : tag.start()], None
    if opened is not None and text[opened:].strip():
        found = text[opened:]
    if found is not None:
        yield unwrap(found)


def _boxed(text: str) -> list[tuple[int, str]]:
    return [(place, unwrap(content)) for place, content in find_boxes(text, _STATEMENTS)]


def _hashed(text: str) -> list[tuple[int, str]]:
    found = deque(_HASHES.finditer(text), maxlen=_STATEMENTS)
    lines = (
        (mark.start(), text[mark.end() : mark.end() + _LONGEST_CLAUSE].split("\n", 1)[0]) for mark in found
    )
    return [
        (place, unwrap(line.rstrip(" \t#"))) for place, line in lines if not _HEADING.match(line.lstrip("* "))
    ]


def _said(text: str) -> list[tuple[int, str]]:
    clauses = deque(((m.start(), m[1]) for m in _SAID.finditer(text)), maxlen=_STATEMENTS)
    ends = ((place, _REASON.sub("", _SENTENCE_END.sub("", clause))) for place, clause in clauses)
    return [(place, unwrap(after_denial(clause) or clause)) for place, clause in ends]


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")
