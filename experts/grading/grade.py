"""Grading: each kind of question has one grader, whose name and version go on every row."""

from __future__ import annotations

import pyarrow as pa

from experts.grading import choice, exact, judged, verified
from experts.grading.base import Asked, Grader, Reply
from warehouse import InputError

#: The grader of each kind of question: to add one is a file beside this one, and its row here.
GRADERS: dict[str, Grader] = {
    grader.kind: grader for grader in (choice.GRADER, exact.GRADER, verified.GRADER, judged.GRADER)
}


def grade(questions: pa.Table, raw: pa.Table) -> pa.Table:
    """Add ``score`` (float32 in [0, 1]) and ``grader`` to RAW_ANSWERS rows, aligned with their questions.

    A score is null (unscored, never "wrong") when the answer failed, the kind has no grader here (``judged``)
    or the grader itself failed. An answer that came, but from which no option can be read, scores 0.
    Raises InputError when the rows do not belong together.
    """
    if questions["question_id"].to_pylist() != raw["question_id"].to_pylist():
        raise InputError("answers and questions are not the same rows", fix="pass them in the same order")
    columns = [questions[name].to_pylist() for name in ("kind", "choices", "answer", "verifier")]
    columns += [raw[name].to_pylist() for name in ("text", "choice", "error")]
    scores: list[float | None] = []
    names: list[str | None] = []
    for kind, choices, answer, verifier, text, chosen, error in zip(*columns, strict=True):
        score, name = None, None
        grader = GRADERS.get(kind)
        if error is None and grader is not None and grader.score is not None:
            score, by = grader.score(Asked(choices, answer or "", verifier), Reply(text or "", chosen))
            name = grader.name(by)
        scores.append(score)
        names.append(name)
    graded = raw.append_column("score", pa.array(scores, pa.float32()))
    return graded.append_column("grader", pa.array(names, pa.string()))
