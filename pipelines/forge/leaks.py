"""What may never be learned from: questions of the evaluation sets, and whatever gives one of them away.

A question leaks one of an evaluation set where
- its prompt falls to the evaluation side of the split (the hash of its words), in the set or not;
- prompt and options are the same but for case, spaces, punctuation and the options' order;
- at least ``NEAR`` of the word triples agree, numbers and all (:mod:`pipelines.questions.duplicates`);
- it has the same numbers and the same answer: ``35 + 47`` tells what ``47 + 35`` is, whatever the words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from pipelines.questions.draft import Row
from pipelines.questions.duplicates import QuestionIndex, find_contamination
from pipelines.questions.sources.base import is_frozen
from warehouse.schemas import normalise_text

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NO_WORD = re.compile(r"[\W_]+")
LEAST_NUMBERS = 2  # a single number and its answer say little: "7 days", "7 dwarfs"


@dataclass(frozen=True)
class Leak:
    """A question that gives away an evaluation question, and how."""

    question_id: str
    prompt: str
    reason: str  # split | same | near | numbers
    like: str | None  # id of the evaluation question; None: its side of the split alone

    def __str__(self) -> str:
        how = {
            "split": "its prompt falls to the evaluation side of the split",
            "same": f"the same as evaluation question {self.like}",
            "near": f"nearly the same as evaluation question {self.like}",
            "numbers": f"the numbers and the answer of evaluation question {self.like}",
        }[self.reason]
        return f"{self.question_id} {' '.join(self.prompt.split())[:80]!r}: {how}"


class EvaluationSet:
    """Evaluation questions (QUESTIONS rows) that training questions are compared with."""

    def __init__(self, questions: pa.Table) -> None:
        self._index = QuestionIndex()
        self._same: dict[str, str] = {}
        self._numbers: dict[tuple[str, ...], str] = {}
        self.add(questions)

    def add(self, questions: pa.Table) -> None:
        """Take in more evaluation questions."""
        self._index.add(questions)
        for row in questions.to_pylist():
            for key in _keys(row):
                self._same.setdefault(key, row["question_id"])
            if (numbers := _numbers(row)) is not None:
                self._numbers.setdefault(numbers, row["question_id"])

    def __len__(self) -> int:
        return len(self._index)

    def quick_match(self, row: Row) -> Leak | None:
        """Compare by all but word triples, which cost a millisecond a question."""
        if is_frozen(row):
            return Leak(row["question_id"], row["prompt"], "split", None)
        return self.like(row)

    def like(self, row: Row) -> Leak | None:
        """Compare in the same way, whatever side of the split the question falls to."""
        identity, prompt = row["question_id"], row["prompt"]
        for key in _keys(row):
            if (like := self._same.get(key)) is not None:
                return Leak(identity, prompt, "same", like)
        if (numbers := _numbers(row)) is not None and (like := self._numbers.get(numbers)) is not None:
            return Leak(identity, prompt, "numbers", like)
        return None

    def find(self, questions: pa.Table) -> tuple[Leak, ...]:
        """Every leak among QUESTIONS rows, in their order."""
        near = {found.question_id: found.like for found in find_contamination(questions, self._index)}
        leaks: list[Leak] = []
        for row in questions.to_pylist():
            found = self.quick_match(row)
            if found is None and row["question_id"] in near:
                found = Leak(row["question_id"], row["prompt"], "near", near[row["question_id"]])
            if found is not None:
                leaks.append(found)
        return tuple(leaks)


def _keys(row: Row) -> Iterable[str]:
    """The prompt, and the prompt with its options: without case, spaces, punctuation and order."""
    prompt = _bare(row["prompt"])
    yield prompt
    if row["choices"]:
        yield _bare(" ".join([prompt, *sorted(map(_bare, row["choices"]))]))


def _bare(text: str) -> str:
    """Letters, digits and signs of arithmetic; a sign between numbers is a word there."""
    words = re.sub(r"(?<=[\d\s])([-+*/x×÷=])(?=[\d\s]|$)", r" sign\1 ", normalise_text(text))
    marked = words.replace("sign+", "plus").replace("sign-", "minus").replace("sign*", "times")
    marked = marked.replace("sign/", "over").replace("sign=", "")
    return _NO_WORD.sub(" ", marked).strip()


def _numbers(row: Row) -> tuple[str, ...] | None:
    """The prompt's numbers in order of size, then the answer; None where they are too few to tell."""
    numbers = sorted(_NUMBER.findall(row["prompt"]))
    if len(numbers) < LEAST_NUMBERS:
        return None
    return (*numbers, normalise_text(answer_text(row)))


def answer_text(row: Row) -> str:
    """The right answer of a QUESTIONS row as text: that of the right option where there are options."""
    choices = row["choices"]
    return str(choices[int(row["answer"])] if choices and row["kind"] == "choice" else row["answer"])
