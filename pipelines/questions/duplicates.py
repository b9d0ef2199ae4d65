"""Keep out questions that are there already, and any that gives away the frozen evaluation set.

Two questions are the same when their texts agree but for case, spaces and the order of their options, and
near duplicates when at least ``NEAR`` of their word triples agree (MinHash; Broder 1997), numbers and all:
with other numbers a question is another one. Candidates come from a locality-sensitive index and are then
compared exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from warehouse import router_text, text_keys

if TYPE_CHECKING:
    from datasketch import MinHash

NEAR = 0.8  # Jaccard similarity of word triples
PERMUTATIONS = 128
_WORD = re.compile(r"\w+(?:\.\d+)?")

Shingles = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Refusal:
    """A question that was not let in, and why."""

    question_id: str
    prompt: str
    reason: str  # duplicate | contamination | unvalidated | malformed | unwritten
    detail: str
    like: str | None = None  # id of the question it matches

    def __str__(self) -> str:
        prompt = self.prompt if len(self.prompt) <= 90 else self.prompt[:87] + "..."
        return f"refused ({self.reason}) {self.question_id} {' '.join(prompt.split())!r}: {self.detail}"


@dataclass(frozen=True)
class Screened:
    """What is left of some questions, and what was refused."""

    questions: pa.Table
    refusals: tuple[Refusal, ...]


class QuestionIndex:
    """Questions that later ones are compared with."""

    def __init__(self, near: float = NEAR) -> None:
        from datasketch import MinHashLSH

        self._near = near
        # The index only proposes, so it may propose too much: recall counts.
        self._index = MinHashLSH(threshold=near * 0.85, num_perm=PERMUTATIONS)
        self._shingles: dict[str, tuple[Shingles, tuple[str, ...]]] = {}
        self._same: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._shingles)

    def add(self, questions: pa.Table) -> None:
        """Add QUESTIONS rows; one that is there already is passed over."""
        for entry in _read(questions):
            self._add(entry)

    def find(self, entry: Entry) -> tuple[str, float] | None:
        """Return the id of a question that is the same or a near duplicate, and the similarity; or None."""
        if (same := self._same.get(entry.key)) is not None:
            return same, 1.0
        best: tuple[str, float] | None = None
        for other in self._index.query(entry.minhash):
            shingles, numbers = self._shingles[other]
            if numbers != entry.numbers:
                continue
            similarity = len(shingles & entry.shingles) / max(len(shingles | entry.shingles), 1)
            if similarity >= self._near and (best is None or similarity > best[1]):
                best = other, similarity
        return best

    def _add(self, entry: Entry) -> None:
        if entry.question_id not in self._shingles:
            self._same.setdefault(entry.key, entry.question_id)
            self._shingles[entry.question_id] = entry.shingles, entry.numbers
            self._index.insert(entry.question_id, entry.minhash)


@dataclass(frozen=True)
class Entry:
    """A question as it is compared."""

    question_id: str
    prompt: str
    key: int  # equal for texts that differ only in case, spaces or order of options
    shingles: Shingles
    numbers: tuple[str, ...]  # sorted
    minhash: MinHash


def screen_questions(
    questions: pa.Table, *, frozen: QuestionIndex, known: QuestionIndex, repeats: Iterable[str] = ()
) -> Screened:
    """Refuse what matches the frozen set, and near duplicates of known questions and of each other.

    Args:
        questions: candidates, QUESTIONS rows.
        frozen: the evaluation set; a match is contamination.
        known: questions of earlier rounds; grows by what is let in.
        repeats: ids that may come again (a person's own file in a second round).
    """
    repeats = set(repeats)
    kept: list[int] = []
    refusals: list[Refusal] = []
    for row, entry in enumerate(_read(questions)):
        if (match := frozen.find(entry)) is not None:
            like, similarity = match
            detail = f"{_alike(similarity)} question {like} of the frozen evaluation set"
            refusals.append(Refusal(entry.question_id, entry.prompt, "contamination", detail, like))
        elif entry.question_id in repeats:
            kept.append(row)
        elif (match := known.find(entry)) is not None:
            like, similarity = match
            detail = f"{_alike(similarity)} question {like}"
            refusals.append(Refusal(entry.question_id, entry.prompt, "duplicate", detail, like))
        else:
            known._add(entry)
            kept.append(row)
    return Screened(questions.take(pa.array(kept, pa.int64())), tuple(refusals))


def find_contamination(questions: pa.Table, frozen: QuestionIndex) -> tuple[Refusal, ...]:
    """Name the questions that match the frozen set, and nothing else."""
    refusals = screen_questions(questions, frozen=frozen, known=QuestionIndex()).refusals
    return tuple(refusal for refusal in refusals if refusal.reason == "contamination")


def _alike(similarity: float) -> str:
    return "the same as" if similarity == 1.0 else f"{similarity:.0%} alike with"


def _read(questions: pa.Table) -> list[Entry]:
    from datasketch import MinHash

    columns: list[list[Any]] = [questions[name].to_pylist() for name in ("question_id", "prompt", "choices")]
    texts = [router_text(prompt, choices) for prompt, choices in zip(*columns[1:], strict=True)]
    words = [_WORD.findall(text.casefold()) for text in texts]
    shingles = [_shingles(of_text) for of_text in words]
    hashes = MinHash.bulk(
        ([" ".join(shingle).encode() for shingle in of_text] for of_text in shingles), num_perm=PERMUTATIONS
    )
    keys = text_keys(texts)
    return [
        Entry(identity, prompt, int(key), parts, tuple(sorted(w for w in of_text if w[0].isdigit())), minhash)
        for identity, prompt, key, parts, of_text, minhash in zip(
            *columns[:2], keys, shingles, words, hashes, strict=True
        )
    ]


def _shingles(words: list[str]) -> Shingles:
    """Word triples, the ends padded, so that a short text's every word counts."""
    padded = ["", "", *words, "", ""]
    return frozenset(tuple(padded[i : i + 3]) for i in range(len(padded) - 2))
