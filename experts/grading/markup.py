r"""Taking an answer out of what is only around it: Markdown, LaTeX, quotes."""

from __future__ import annotations

import re
from itertools import islice

_NESTED = r"(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*"  # braces within braces, four deep
_WRAPPED = re.compile(
    rf"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it|sf)|mbox|boxed|fbox|operatorname)\s{{0,5}}\{{({_NESTED})\}}"
    r"|\\\((.*)\\\)|\\\[(.*)\\\]|\"(.*)\"|'(.*)'|“(.*)”|‘(.*)’|«(.*)»|「(.*)」|\[\[(.*)\]\]",
    re.DOTALL,
)
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it|sf)|mbox)\s{0,5}\{([^{}]*)\}")
_BOX = re.compile(r"\\[bf](?:oxed|box)\s{0,5}\{")
_BRACE = re.compile(r"\\[{}]|[{}]")
_DIGIT_GROUP = re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!;: ])(?=\d{3})")
#: A longer text is no answer in a wrapping, and no more layers are taken off.
LONGEST_ANSWER, _LAYERS = 4000, 12


def unwrap(text: str) -> str:
    r"""Return an answer without what is only around it: Markdown, ``$``, ``\text{}``, quotes, the full stop.

    >>> unwrap(r"**$\text{Paris}$**."), unwrap('"x**2"')
    ('Paris', 'x**2')
    """
    for _ in range(_LAYERS):
        bare = text.strip().rstrip(".。").strip(" \t\n*_`$")
        if len(bare) > LONGEST_ANSWER:
            return bare
        if wrapped := _WRAPPED.fullmatch(bare):
            bare = next(inner for inner in wrapped.groups() if inner is not None)
        if bare == text:
            break
        text = bare
    return text


def text_macros_removed(text: str) -> str:
    r"""Return the text with the contents of ``\text{}`` and its like in their place."""
    return _TEXT.sub(r"\1", text)


def join_digit_groups(text: str) -> str:
    r"""Return the text with digits joined that LaTeX keeps apart: ``1{,}000``, ``1\,000``."""
    return _DIGIT_GROUP.sub("", text)


def find_boxes(text: str, most: int) -> list[tuple[int, str]]:
    r"""Return place and content of the last ``most`` closed ``\boxed{}``, in order; linear in the text.

    >>> find_boxes(r"\boxed{1} and \boxed{\frac{1}{2}} and \boxed{3", most=5)
    [(0, '1'), (14, '\\frac{1}{2}')]
    """
    starts = {box.end() - 1: box.start() for box in _BOX.finditer(text)}
    if not starts:
        return []
    found: list[tuple[int, str]] = []
    opened: list[int] = []
    for brace in _BRACE.finditer(text, min(starts)):
        if brace[0] == "{":
            opened.append(brace.start())
        elif brace[0] == "}" and opened:
            at = opened.pop()
            if at in starts:
                found.append((starts[at], text[at + 1 : brace.start()][: LONGEST_ANSWER + 1]))
    found.sort()
    return list(islice(found, max(0, len(found) - most), None))
