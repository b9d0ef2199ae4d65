"""Grading: each kind of question has one grader, whose name and version go on every row."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction

import pyarrow as pa

from experts.grading.parsing import final_answer, unwrap
from experts.grading.symbolic import equal_formulas, is_formula
from experts.grading.verifying import score_verified
from warehouse import InputError, normalise_text

#: Grader name and version by kind of question. Raise the version when the grader judges differently.
#: An ``exact`` question is graded by what its reference answer is: a number, a formula, or words.
GRADERS = {
    "choice": "choice@2",
    "exact": "exact@2",
    "numeric": "numeric@2",
    "symbolic": "symbolic@2",
    "verified": "verified@1",
}

_EXPONENT = r"\^\s*(?:\{[^{}]*\}|-?\w+)"
# The words and exponents are there to be passed over: no 2 is read out of "5 m^2" or "CO2". A power ("2^10")
# is a number, and not one that is worked out here.
_TOKENS = re.compile(
    rf"(?P<power>\d[\d.,]*\s*{_EXPONENT})|{_EXPONENT}|[^\W\d]\w*"
    r"|(?P<number>(?:(?<![\w)])-)?(?:\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?|\.\d+))"
)
_SCIENTIFIC = re.compile(r"(?<=\d)\s*(?:\\times|\\cdot|[×x*·])\s*10\s*\^\s*(?:\{(-?\d+)\}|(-?\d+))")
_DASHES = re.compile("[\u2010\u2011\u2013\u2212]")  # hyphens, the en dash and the minus sign
_FRACTION = re.compile(r"(-?\d{1,30})\s*/\s*(\d{1,30})|(?:\\[dt]?frac)\{(-?\d{1,30})\}\{(-?\d{1,30})\}")


def grade(questions: pa.Table, raw: pa.Table) -> pa.Table:
    """Add ``score`` (float32 in [0, 1]) and ``grader`` to RAW_ANSWERS rows, aligned with their questions.

    A score is null (unscored, never "wrong") when the answer failed, the kind has no grader here (``judged``)
    or the grader itself failed. An answer that came, but from which no option can be read, scores 0.
    Raises InputError when the rows do not belong together.
    """
    if questions["question_id"].to_pylist() != raw["question_id"].to_pylist():
        raise InputError("answers and questions are not the same rows", fix="pass them in the same order")
    names = ("kind", "choices", "answer", "verifier")
    columns = [questions[name].to_pylist() for name in names]
    columns += [raw[name].to_pylist() for name in ("text", "choice", "error")]
    scores: list[float | None] = []
    graders: list[str | None] = []
    for kind, choices, answer, verifier, text, choice, error in zip(*columns, strict=True):
        score, grader = None, None
        if error is None and kind == "choice":
            score, grader = _grade_choice(choice, answer, choices), GRADERS["choice"]
        elif error is None and kind == "exact":
            way = reference_kind(answer)
            score, grader = _grade_exact(text or "", answer, way), GRADERS[way]
        elif error is None and kind == "verified":
            score, grader = score_verified(text or "", final_answer(text or ""), verifier)
        scores.append(score)
        graders.append(grader)
    graded = raw.append_column("score", pa.array(scores, pa.float32()))
    return graded.append_column("grader", pa.array(graders, pa.string()))


def _grade_choice(choice: int | None, answer: str, choices: list[str] | None) -> float | None:
    if not answer.isdigit() or not choices or int(answer) >= len(choices):
        return None  # the question itself names no right option
    return float(choice == int(answer))


def reference_kind(answer: str) -> str:
    """Say how a reference answer is compared: ``numeric``, ``symbolic`` or ``exact``."""
    if parse_number(answer) is not None:
        return "numeric"
    return "symbolic" if is_formula(answer) else "exact"


def _grade_exact(text: str, answer: str, way: str) -> float | None:
    if way != "symbolic" or matches(text, answer):
        return float(matches(text, answer))
    equal = equal_formulas(final_answer(text), answer)
    return None if equal is None else float(equal)


def matches(text: str, answer: str) -> bool:
    r"""Tell whether a generated text states the reference answer, formulas not worked out.

    Numbers compare by value (``1,000`` is ``1000.0``), all else by normalised text without the end stop.

    >>> matches("So \\boxed{1,000}", "1000.0"), matches("It is Paris.\nMore", "paris")
    (True, False)
    """
    stated = final_answer(text)
    expected = parse_number(answer)
    if expected is not None:
        if fraction := _FRACTION.fullmatch(stated.strip(" $")):
            above, below = (int(number) for number in fraction.groups() if number)
            small = abs(expected.adjusted()) < 60  # else the whole number alone would fill the memory
            return below != 0 and small and Fraction(above, below) == Fraction(expected)
        return _last_number(stated) == expected
    return _fold(stated) == _fold(unwrap(answer))


def _fold(text: str) -> str:
    return _DASHES.sub("-", normalise_text(text))


def _last_number(stated: str) -> Decimal | None:
    plain = _SCIENTIFIC.sub(r"e\1\2", _DASHES.sub("-", stated.replace("$", "")))
    found = [token for token in _TOKENS.finditer(plain) if token.lastgroup]
    return parse_number(found[-1]["number"] or "") if found else None


def parse_number(text: str) -> Decimal | None:
    """Return the number that the whole of ``text`` writes, or None."""
    try:
        number = Decimal(text.strip().replace(",", "").removeprefix("$").removesuffix("%").strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
