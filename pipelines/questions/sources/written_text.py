"""Read a question that a language model wrote, show it one, and check the arithmetic in it."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from experts.catalogue.prompts import LETTERS
from pipelines.questions.draft import Row
from warehouse import normalise_text

_OPTION = re.compile(r"^\s*\(?([A-Z])[.):]\s*(.+?)\s*$")
_ANSWER = re.compile(r"^\s*(?:the )?(?:right |correct )?answer(?: is)?\s*:?\s*\(?([A-Z])\b", re.IGNORECASE)
#: A number as an option states it; nothing else is a sum's answer. "1e999999999" would take for ever to read.
_NUMBER = re.compile(r"[-+]?[\d,]{1,100}(?:\.\d{1,100})?(?:/\d{1,100})?", re.ASCII)
_QUESTION = re.compile(r"^\s*question\s*\d*\s*:\s*", re.IGNORECASE)
_EXPRESSION = re.compile(r"\d[\d\s.+\-*/×÷()]*\d")
#: Words that leave a sum what it is. "Twice 3 + 4" is another question than "What is 3 + 4?".
_PLAIN = frozenset(
    ("what", "is", "calculate", "compute", "evaluate", "how", "much", "the", "value", "result", "of")
)
_OPERATORS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


@dataclass(frozen=True)
class Written:
    """A multiple-choice question as its writer states it."""

    prompt: str
    choices: tuple[str, ...]
    answer: int  # index


def show_question(row: Row) -> str:
    """Return a choice question as it stands in a prompt."""
    options = [f"{letter}. {text}" for letter, text in zip(LETTERS, row["choices"], strict=False)]
    return "\n".join([f"Question: {row['prompt']}", *options, f"Answer: {LETTERS[int(row['answer'])]}"])


def parse_written(text: str) -> Written | str:
    """Read the first question of a text; a string says what is wrong with it.

    >>> parse_written("What is 1 + 1?\\nA. 1\\nB. 2\\nAnswer: B")
    Written(prompt='What is 1 + 1?', choices=('1', '2'), answer=1)
    """
    stem: list[str] = []
    options: dict[str, str] = {}
    for line in text.replace("**", "").strip().splitlines():  # without bold type
        if options and (found := _ANSWER.match(line)):
            return _check(" ".join(stem), options, found.group(1).upper())
        if (option := _OPTION.match(line)) and option.group(1) == LETTERS[len(options) : len(options) + 1]:
            options[option.group(1)] = option.group(2)
        elif not options and line.strip():
            stem.append(_QUESTION.sub("", line.strip()))
        elif options and line.strip():
            return "text among the options"
    return "no options" if not options else "no answer is named"


def _check(prompt: str, options: dict[str, str], letter: str) -> Written | str:
    if len(prompt) < 8:
        return "no question before the options"
    if letter not in options:
        return f"the answer {letter} is none of the {len(options)} options"
    if len(options) < 2:
        return "one option only"
    choices = tuple(options.values())
    if len({normalise_text(choice) for choice in choices}) < len(choices):
        return "two options are alike"
    return Written(prompt, choices, LETTERS.index(letter))


def verify_arithmetic(prompt: str, answer: str) -> bool | None:
    """Tell whether an answer is right, where the prompt asks for a sum and nothing else; else None.

    >>> verify_arithmetic("What is 12 + 3 * 2?", "18"), verify_arithmetic("When was Rome founded?", "753 BC")
    (True, None)
    """
    found = [match for match in _EXPRESSION.findall(prompt) if re.search(r"[+\-*/×÷]", match)]
    if len(found) != 1 or not set(re.findall(r"\w+", prompt.replace(found[0], "", 1).casefold())) <= _PLAIN:
        return None
    if not _NUMBER.fullmatch(answer.strip()):
        return None
    try:
        value = _evaluate(ast.parse(found[0].replace("×", "*").replace("÷", "/").strip(), mode="eval").body)
        return value == Fraction(answer.strip().replace(",", ""))
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None


def _evaluate(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate(node.left), _evaluate(node.right))
    raise ValueError(ast.dump(node))
