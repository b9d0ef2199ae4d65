"""Questions to learn a gap from, and others to watch the learning by: made by generators, free of leaks.

Three parts that share no prompt. Training and validation questions fall to the side of the split that may be
learned from; questions to test a specialist on fall to the evaluation side, as the frozen set does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.forge.gap import TargetGap
from pipelines.forge.leaks import EvaluationSet, Leak
from pipelines.questions.brief import allot
from pipelines.questions.draft import Row, questions_table
from pipelines.questions.make import Cell, make_cells
from pipelines.questions.sources.base import concat_unique, is_frozen
from warehouse import InputError, TooFewError

ROUND = "forge"  # under which its questions are stored
#: Of held-out questions, other draws than any round's: for the test on the way, and for one made afterwards.
TEST_SEEDS = (7_000_003, 7_000_004)
RESERVED = 360  # questions of each draw


@dataclass(frozen=True)
class TrainingQuestions:
    """QUESTIONS rows of a gap; ``leaks`` are those that were refused."""

    train: pa.Table
    validation: pa.Table
    leaks: tuple[Leak, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the ids of all questions, each part in its order."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation):
            for identity in part["question_id"].to_pylist():
                digest.update(identity.encode() + b"\n")
            digest.update(b"--\n")
        return digest.hexdigest()


def held_out_questions(
    gap: TargetGap,
    count: int,
    *,
    seed: int,
    exclude: Sequence[str] = (),
    unlike: pa.Table | None = None,
    allow_fewer: bool = False,
) -> pa.Table:
    """Questions of the gap on the evaluation side of the split, spread evenly over its cells.

    What gives away one of ``unlike``, such as the questions that were learned from, or is given away by it,
    is passed over.

    Raises:
        TooFewError: there are fewer, unless ``allow_fewer``.
    """
    learned = None if unlike is None else EvaluationSet(unlike)

    def accept(row: Row) -> bool:
        return is_frozen(row) and (learned is None or learned.like(row) is None)

    return _draw(gap, count, seed, accept, exclude, allow_fewer)


def reserved_questions(gap: TargetGap) -> pa.Table:
    """Those that a specialist will be tested on: nothing that gives them away is learned from."""
    return concat_unique(
        [held_out_questions(gap, RESERVED, seed=seed, allow_fewer=True) for seed in TEST_SEEDS]
    )


def make_training_questions(
    gap: TargetGap,
    evaluation: EvaluationSet,
    *,
    count: int,
    validation_count: int,
    seed: int,
    weights: Sequence[float] | None = None,
    least: int | None = None,
) -> TrainingQuestions:
    """Make questions to learn the gap from; whatever matches an evaluation question is refused.

    Args:
        gap: whose generators.
        evaluation: what may not be given away.
        count: training questions; a cell with too few distinct ones is made up for by the others.
        validation_count: questions to watch the learning by, drawn before the others, even over the cells.
        seed: decides the draw.
        weights: share of the training questions by cell of the gap, in any unit; None: even.
        least: fewest training questions to go on with; None: half of ``count``.

    Raises:
        InputError: the weights are not one number of at least 0 for each cell.
        TooFewError: too few different questions are left.
    """
    leaks: dict[str, Leak] = {}

    def accept(row: Row) -> bool:
        leak = evaluation.quick_match(row)
        # A prompt of the other side is no leak of a set until it is in one; it is passed over, not reported.
        if leak is not None and leak.reason != "split":
            leaks[leak.question_id] = leak
        return leak is None

    validation = _draw(gap, validation_count, seed + 1, accept, (), True)
    own = EvaluationSet(validation)

    def accept_train(row: Row) -> bool:
        return accept(row) and own.quick_match(row) is None

    train = _draw(gap, count, seed + 2, accept_train, (), True, weights)
    near = {leak.question_id: leak for table in (train, validation) for leak in evaluation.find(table)}
    leaks |= near
    train, validation = (_without(table, list(near)) for table in (train, validation))
    if train.num_rows < (count // 2 if least is None else least) or not validation.num_rows:
        raise TooFewError(
            f"{train.num_rows} questions are left to learn {gap.name!r} from, {count} were asked for",
            where=gap.name,
            fix="ask for fewer (--questions), or register a generator with more levels or more numbers",
        )
    return TrainingQuestions(train, validation, tuple(leaks.values()))


def _draw(
    gap: TargetGap,
    count: int,
    seed: int,
    accept: object,
    exclude: Sequence[str],
    allow_fewer: bool,
    weights: Sequence[float] | None = None,
) -> pa.Table:
    import numpy as np

    shares = np.ones(len(gap.cells)) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (len(gap.cells),) or not (shares >= 0).all() or not shares.sum() > 0:
        raise InputError(
            f"{len(gap.cells)} weights of at least 0 are needed, not {list(weights or ())}",
            where=f"levels of {gap.name!r}",
            fix="give one for each: " + ", ".join(f"{name} level {level}" for name, level in gap.cells),
        )
    counts: dict[Cell, int] = dict(zip(gap.cells, map(int, allot(shares / shares.sum(), count)), strict=True))
    table = make_cells(counts, seed, ROUND, exclude=set(exclude), accept=accept)  # type: ignore[arg-type]
    if table.num_rows < count and not allow_fewer:
        raise TooFewError(
            f"{table.num_rows} questions are left, {count} asked for", where=gap.name, fix="ask for fewer"
        )
    order = np.random.default_rng(seed).permutation(table.num_rows)
    return table.take(pa.array(order)) if table.num_rows else questions_table([])


def _without(table: pa.Table, ids: Sequence[str]) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table["question_id"], value_set=pa.array(ids, pa.string()))))
