"""Reading an answer out of generated text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from experts.catalogue.prompts import LETTERS
from warehouse import normalise_text

_NESTED = r"(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*"  # braces within braces, four deep
_BOXED = re.compile(rf"\\boxed\s*\{{({_NESTED})\}}")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
# Four hashes are the mark of GSM8K, and also a heading in Markdown: a heading states nothing.
_HEADING = (
    r"(?:step|part|case|explanation|solution|reasoning|analysis|conclusion|check|verification|summary)\b"
)
_HASHES = re.compile(rf"####(?!#)(?!\s*{_HEADING})(?![^\n]*\banswer\b)[ \t]*(\S.*)", re.IGNORECASE)
_ANSWER_HEADING = re.compile(r"^#+[\s*]*((?:final |correct )?answer)[\s*]*$", re.IGNORECASE | re.MULTILINE)
# The clause is only looked at, so that of two on one line both are found.
_SAID = re.compile(
    r"(?<!\bthis )(?<!\bthat )\banswer\b(?:\s+to\s+[^.:\n]{1,80}?)?[\s*_]*"
    r"(?:\b(?:is|was|(?:would|should|must) be)\b|:|=)[\s:*_$]*(?=(\S.{0,1000}))",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"(?<!\b[A-Z])(?<!\b(?:Dr|St|Mr|Ms|Mt|Ft))(?<!\b(?:Mrs|Gen|Col|Rev))[.!?][*_$\"']*\s+(?=[A-Z*\"(\\]).*"
)
_REASON = re.compile(r"(?<=\S)(?:,\s*not|,?\s+(?:because|since))\b.*")
_WRAPPED = re.compile(
    rf"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it|sf)|mbox|boxed|operatorname)\s*\{{({_NESTED})\}}"
    r"|\\\((.*)\\\)|\\\[(.*)\\\]|\"(.*)\"|'(.*)'|“(.*)”|‘(.*)’",
    re.DOTALL,
)
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it|sf)|mbox)\s*\{([^{}]*)\}")
_DIGIT_GROUP = re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!;: ])(?=\d{3})")

_OPEN = r"[\s(\[{*\"'`$_]*"
_NO_LETTER = (
    r"(?![)\]*\s]*\s(?:or|and|&)\s+[(\[*]*[A-Z]\b)"  # "B or C" names neither
    r"(?!\s+(?!(?:because|since|as|is|was|due|given|which|and|but|so)\b)[a-z])"  # "A good guess"
)
_LETTER = re.compile(
    rf"{_OPEN}(?:(?i:option|choice|letter)\s+{_OPEN})?([A-Z])(?=[\s)\]}}*\"'`.:,;$_]|$){_NO_LETTER}"
)
_SMALL_LETTER = re.compile(r"[\s*\"'`$_]*(?:\(([a-z])\).*|([a-z])(?:\)\s.*|[\W_]*))", re.DOTALL)
_LETTER_SAID = re.compile(
    rf"\b(?i:answer|option|choice)\s*(?i:is|:)?\s*{_OPEN}([A-Z])\b(?!['’-]){_NO_LETTER}"
    r"(?![)\]*\s]*\s(?i:is|are|was|would be|can be)\s+(?i:not|incorrect|wrong|false|ruled|eliminated)\b)"
)


def parse_choice(text: str, choices: Sequence[str]) -> int | None:
    r"""Return the index of the option that ``text`` names, by letter or in its own words, or None.

    In this order: what is said to be the answer (the last first), what is marked as it, the beginning of the
    text, its first line, and the last "option X" of which it does not say that it is wrong.

    >>> parse_choice("The answer is (B).", ["3", "4"]), parse_choice("Paris", ["Rome", "Paris"])
    (1, 1)
    """
    text = _plain(text)
    for candidate in (*_said(text), *_marked(text), text, _first_line(text)):
        if (index := _named(candidate, choices)) is not None:
            return index
    mentioned = [m.group(1) for m in _LETTER_SAID.finditer(text)]
    return _index(mentioned[-1], choices) if mentioned else None


def final_answer(text: str) -> str:
    r"""Return the part of ``text`` that states the answer, out of its wrapping.

    In this order: the last ``<answer>`` tag, ``\boxed{}``, ``####`` line, "answer is" clause, else the first
    line that is not blank. A clause ends with its sentence, or where it gives a reason.

    >>> final_answer("3 and 4 make 7.\n#### 7"), final_answer("The answer is **Paris**, since it is.")
    ('7', 'Paris')
    """
    text = _plain(text)
    return next((found for found in (*_marked(text), *_said(text)) if found), unwrap(_first_line(text)))


def unwrap(text: str) -> str:
    r"""Return an answer without what is only around it: Markdown, ``$``, ``\text{}``, quotes, the full stop.

    >>> unwrap(r"**$\text{Paris}$**."), unwrap('"x**2"')
    ('Paris', 'x**2')
    """
    while True:
        bare = text.strip().rstrip(".").strip(" \t\n*_`$")
        if wrapped := _WRAPPED.fullmatch(bare):
            bare = next(inner for inner in wrapped.groups() if inner is not None)
        if bare == text:
            return bare
        text = bare


def _plain(text: str) -> str:
    text = _DIGIT_GROUP.sub("", text.rsplit("</think>", 1)[-1])
    return _ANSWER_HEADING.sub(r"\1:", text)


def _marked(text: str) -> Iterator[str]:
    for pattern in (_TAGGED, _BOXED, _HASHES):
        if found := pattern.findall(text):
            yield unwrap(found[-1])


def _said(text: str) -> Iterator[str]:
    for clause in reversed(_SAID.findall(text)):
        yield unwrap(_REASON.sub("", _SENTENCE_END.sub("", clause)))


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _named(candidate: str, choices: Sequence[str]) -> int | None:
    r"""The option that a candidate is, or whose letter it begins with: "B", "(B) 4", ``\text{B}``, "4"."""
    folded = normalise_text(unwrap(candidate))
    options = [normalise_text(unwrap(choice)) for choice in choices]
    if len(folded) > 1 and options.count(folded) == 1:
        return options.index(folded)
    bare = _TEXT.sub(r"\1", candidate)
    if letter := _LETTER.match(bare) or _SMALL_LETTER.fullmatch(bare):
        found = _index(next(group for group in letter.groups() if group).upper(), choices)
        if found is not None:
            return found
    return options.index(folded) if folded and options.count(folded) == 1 else None


def _index(letter: str, choices: Sequence[str]) -> int | None:
    found = LETTERS[: len(choices)].find(letter)
    return found if found >= 0 else None
