"""What a text asks for, where it says so: one of its options, a number, code."""

from __future__ import annotations

import re
from typing import Literal

from experts.catalogue.prompts import LETTERS

#: The ends of a text say what is wanted. All runs are bounded: a search is linear in the text.
_TAIL, _END = 6_000, 600
_SECOND_OPTION = re.compile(r"\n[ \t*>-]{0,8}\(?B[).:\]]")  # to tell quickly that there are none
_OPTION = re.compile(r"^[ \t*>-]{0,8}\(?([A-Z])[).:\]]\*{0,2}[ \t]{1,4}(\S[^\n]{0,2000})$", re.MULTILINE)
_MOST_OPTIONS = 26
_ASKS_TO_CHOOSE = re.compile(
    r"\b(?:letters?|options?|choices?|choose|select|pick|multiple[ -]choice|(?:correct|right|best) answer"
    r"|which)\b|\banswer\s{0,2}:\s{0,4}$",
    re.IGNORECASE,
)
_ASKS_FOR_NUMBER = re.compile(
    r"\\boxed\b|####|\b(?:numeric(?:al)?|integer) answer\b"
    r"|\b(?:only|just|as|with|be) (?:the |a |an |one )?(?:single |final |exact )?"
    r"(?:numeric(?:al)?|number|integer|decimal|fraction)\b(?!\s(?:of|list|line|each|and every)\b)",
    re.IGNORECASE,
)
#: Without one of these words the patterns find nothing; looking for them takes a tenth of the time.
_WORDS_OF_NUMBERS = ("boxed", "####", "numer", "number", "integer", "decimal", "fraction")
_WORDS_OF_CODE = (
    *(
        "```",
        "function",
        "code",
        "script",
        "program",
        "class",
        "method",
        "sql",
        "regex",
        "snippet",
        "unit test",
    ),
    *("query", "algorithm"),
)
_ASKS_FOR_CODE = re.compile(
    r"```|\b(?:write|implement|complete|fix|debug|refactor|rewrite|generate|create|give)\b[^.!?\n]{0,60}"
    r"\b(?:function|code|script|program|class|method|sql|regex|snippet|unit tests?|query|algorithm)\b",
    re.IGNORECASE,
)


def options_asked(text: str, *, is_brief: bool = False) -> tuple[str, ...]:
    """Return the lettered options at the end of a text that asks to choose between them, else none.

    Args:
        text: what was asked; of several lists of options the last counts.
        is_brief: whether the answer may be no longer than a letter needs, which asks for one as well.

    >>> options_asked("Which is a metal?\\nA. iron\\nB. air"), options_asked("My list:\\nA. iron\\nB. air")
    (('iron', 'air'), ())
    """
    text = text[-_TAIL:]
    if _SECOND_OPTION.search(text) is None:
        return ()
    runs: list[list[str]] = [[]]
    for found in _OPTION.finditer(text):
        letter, option = found[1], found[2].strip()
        if letter == "A":
            runs.append([option])
        elif runs[-1] and len(runs[-1]) < _MOST_OPTIONS and letter == LETTERS[len(runs[-1])]:
            runs[-1].append(option)
    options = runs[-1]
    if len(options) < 2 or not (is_brief or _ASKS_TO_CHOOSE.search(text)):
        return ()
    return tuple(options)


def asks_for(text: str) -> Literal["number", "code"] | None:
    """Return whether a text says that its answer is to be a number (or is to be marked), or asks for code.

    >>> asks_for("Give only the number."), asks_for("How many people live in Peru?")
    ('number', None)
    >>> asks_for("Write a Python function that adds."), asks_for("Write a poem.")
    ('code', None)
    """
    if len(text) > 2 * _END:
        text = f"{text[:_END]}\n{text[-_END:]}"
    small = text.lower()
    if _has_one(small, _WORDS_OF_NUMBERS) and _ASKS_FOR_NUMBER.search(text):
        return "number"
    if _has_one(small, _WORDS_OF_CODE) and _ASKS_FOR_CODE.search(text):
        return "code"
    return None


def _has_one(text: str, words: tuple[str, ...]) -> bool:
    for word in words:  # noqa: SIM110  # any() takes four times as long, and every request comes by
        if word in text:
            return True
    return False
