"""What a text asks for, where it says so: one of its options, a number, code."""

from __future__ import annotations

import re
from typing import Literal

from experts.catalogue.prompts import LETTERS

#: The ends of a text say what is wanted. All runs are bounded: a search is linear in the text.
_TAIL, _END = 6_000, 400
_SECOND_OPTION = re.compile(r"\n[ \t*>-]{0,8}\(?B[).:\]]")  # to tell quickly that there are none
_OPTION = re.compile(r"^[ \t*>-]{0,8}\(?([A-Z])[).:\]]\*{0,2}[ \t]{1,4}(\S[^\n]{0,2000})$", re.MULTILINE)
_MOST_OPTIONS = 26
_ASKS_TO_CHOOSE = re.compile(
    r"\b(?:choose|select|pick|answer|reply|respond|mark|indicate|give|state|output)\b[^\n]{0,60}?"
    r"\b(?:letters?|options?|choices?|answer|one of)\b"
    r"|\b(?:correct|right|best|true) (?:answer|option|choice|letter|statement)\b|\bmultiple[ -]choice\b"
    r"|\bwhich\b[^\n]{0,300}[?:]|\banswer\s{0,2}:\s{0,4}$",
    re.IGNORECASE,
)
_ASKS_FOR_NUMBER = re.compile(
    r"\\boxed\b|\b(?:after|with|by|use|using|and)\s[\"'`“]?####|####\s?(?:[<{\[]|answer\b|the\b)"
    r"|\b(?:only|just) (?:with |as |give |state |return |output )?(?:the |a |an |one )?"
    r"(?:(?:single|final|exact|numeric|numerical) ){0,2}(?:number|integer|decimal|fraction)\b"
    r"(?!\s(?:of|list|line|each|and every|between|from)\b)"
    r"|\b(?:number|integer|decimal|fraction),? (?:only\b|alone\b|and nothing else)",
    re.IGNORECASE,
)
#: Without one of these words the patterns find nothing; looking for them takes a tenth of the time.
_WORDS = (
    *("boxed", "####", "number", "integer", "decimal", "fraction"),
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
    """Return whether a text asks for code, or says that its answer is to be a bare number or to be marked.

    >>> asks_for("Give only the number."), asks_for("How many people live in Peru?")
    ('number', None)
    >>> asks_for("Write a Python function that adds."), asks_for("Write a poem.")
    ('code', None)
    """
    if len(text) > 2 * _END:
        text = f"{text[:_END]}\n{text[-_END:]}"
    small = text.lower()
    for word in _WORDS:  # not any(): it takes four times as long, and every request comes by
        if word in small:
            break
    else:
        return None
    if _ASKS_FOR_CODE.search(text):
        return "code"
    return "number" if _ASKS_FOR_NUMBER.search(text) else None
