"""Reading an answer out of generated text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from experts.prompts import LETTERS
from warehouse import normalise_text

_NESTED = r"(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*"  # braces within braces, four deep
_BOXED = re.compile(rf"\\boxed\{{({_NESTED})\}}")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_HASHES = re.compile(r"####\s*(.+)")
_SAID = re.compile(r"\b(?:final\s+)?answer\s*(?:is|:)\s*(.+)", re.IGNORECASE)
_LETTER_SAID = re.compile(r"\b(?i:answer|option|choice)\s*(?i:is|:)?\s*[\(\[\*\"'`]*([A-Z])\b(?!['’])")
_LETTER_FIRST = re.compile(r"^[\s\(\[\*\"'`]*([A-Z])(?=[\s\)\]\*\"'`.:,]|$)(?!\s+[a-z])")


def parse_choice(text: str, choices: Sequence[str]) -> int | None:
    r"""Return the index of the option that ``text`` names, by letter or in its own words, or None.

    >>> parse_choice("The answer is (B).", ["3", "4"]), parse_choice("Paris", ["Rome", "Paris"])
    (1, 1)
    """
    last_letter = LETTERS[: len(choices)]
    said = [m.group(1) for m in _LETTER_SAID.finditer(text)]
    first = _LETTER_FIRST.match(text)
    for letter in [*said[-1:], *([first.group(1)] if first else [])]:
        if letter in last_letter:
            return last_letter.index(letter)
    boxed = _BOXED.findall(text)
    if boxed and boxed[-1].strip() in tuple(last_letter):
        return last_letter.index(boxed[-1].strip())
    options = [normalise_text(choice) for choice in choices]
    for candidate in (final_answer(text), text):
        folded = normalise_text(candidate).rstrip(".")
        if options.count(folded) == 1:
            return options.index(folded)
    return None


def final_answer(text: str) -> str:
    r"""Return the part of ``text`` that states the answer.

    In this order: the last ``<answer>`` tag, ``\boxed{}``, ``####`` line, "answer is" clause, else the first
    line that is not blank.

    >>> final_answer("3 and 4 make 7.\n#### 7")
    '7'
    """
    for pattern in (_TAGGED, _BOXED, _HASHES, _SAID):
        if found := pattern.findall(text):
            return str(found[-1]).strip().strip("*").rstrip(".").strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else ""
