"""Verifiers that come with a question, and the gate before them.

Several of reasoning-gym's verifiers evaluate the answer as Python or SymPy code. An answer is text from a
model, so nothing reaches them that could do more than a little arithmetic or write down a list.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

PREFIX = "reasoning_gym:"

_LONGEST = 4000
_LARGEST_EXPONENT = 64
_LARGEST_FACTORIAL = 20
_LARGEST_NUMBER = 1e40
_FACTORIAL = re.compile(r"(\w+|\))\s*!")
_FUNCTIONS = frozenset(
    ("Abs", "abs", "acos", "asin", "atan", "cos", "cosh", "cot", "csc", "exp", "ln", "log")
)
_FUNCTIONS |= {"sec", "sin", "sinh", "sqrt", "tan", "tanh"}
_HARMLESS = (
    ast.Expression,
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.Dict,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.Call,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
)
_CONTAINERS = (ast.List, ast.Tuple, ast.Set, ast.Dict)


def score_verified(text: str, stated: str, verifier: str | None) -> tuple[float | None, str | None]:
    """Return the score (0 to 1) of an answer and the verifier's name, None where none is named.

    ``text`` is the whole answer and ``stated`` the part that states it; the better of the two counts. The
    score is None when the verifier is unknown, fails, or must not see the text. ``verifier`` is as in
    QUESTIONS: JSON ``{"name": "reasoning_gym:<data set>", "payload": <its entry>}``.
    """
    try:
        content: dict[str, Any] = json.loads(verifier or "")
        name, payload = str(content["name"]), content["payload"]
    except (ValueError, KeyError, TypeError):
        return None, None
    score_answer = _verifier(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    if score_answer is None:
        return None, name
    scores = []
    for candidate in dict.fromkeys((stated, text.strip())):
        if is_harmless(candidate):
            try:
                scores.append(float(score_answer(candidate, payload)))
            except Exception:  # a verifier that fails on odd text has not judged it
                continue
    return (min(1.0, max(0.0, *scores, 0.0)) if scores else None), name


def is_harmless(text: str) -> bool:
    """Tell whether evaluating ``text`` as Python or SymPy could do no more than small arithmetic.

    Text that is no expression at all is harmless: evaluating it is a syntax error.

    >>> [is_harmless(text) for text in ("(3 + 4) * 2", "Hello, you", "open('x')", "9**9**9")]
    [True, True, False, False]
    """
    if len(text) > _LONGEST or "__" in text:
        return False
    for match in _FACTORIAL.finditer(text):  # SymPy reads n! as a factorial, Python does not
        if (match.group(1).isdigit() and int(match.group(1)) > _LARGEST_FACTORIAL) or match.group(1) == ")":
            return False
    try:
        tree = ast.parse(text.replace("!", " ").strip(), mode="eval")
    except (SyntaxError, ValueError):
        return True
    except (RecursionError, MemoryError):
        return False
    return all(_is_harmless_node(node) for node in ast.walk(tree))


def _is_harmless_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS and not node.keywords
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, int | float) or abs(node.value) <= _LARGEST_NUMBER
    if isinstance(node, ast.BinOp):
        return _is_small(node)
    return isinstance(node, _HARMLESS)


def _is_small(node: ast.BinOp) -> bool:
    """No towers of powers, no large exponents, no repeated strings or lists, no shifts."""
    sides = (node.left, node.right)
    if isinstance(node.op, ast.Pow):
        powers = sum(isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow) for n in ast.walk(node))
        exponent = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
        if isinstance(exponent, ast.Constant):
            return (
                powers == 1
                and isinstance(exponent.value, int | float)
                and exponent.value <= _LARGEST_EXPONENT
            )
        return powers == 1 and not any(isinstance(n, ast.Constant) for n in ast.walk(node.left))
    if isinstance(node.op, ast.LShift | ast.RShift):
        return False
    repeats = isinstance(node.op, ast.Mult | ast.Mod)
    return not (repeats and any(isinstance(s, _CONTAINERS) or _is_text(s) for s in sides))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


@lru_cache
def _verifier(name: str) -> Callable[[str, Any], float] | None:
    """Return ``score_answer`` of a reasoning-gym data set, or None if there is no such set."""
    try:
        from reasoning_gym import get_score_answer_fn

        found: Callable[[str, Any], float] = get_score_answer_fn(name)
    except Exception:  # any fault of the library means: no verifier
        return None
    return found
