"""Replays recorded answers: an honest stand-in where a model cannot be run, labelled as recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from experts.backends.base import BUDGET_SPENT, Keep, RawAnswer, raw_table
from experts.backends.recorded_folder import RECORDED, read_recorded_folder
from experts.backends.spend_cap import Purse, reserve_batch
from experts.catalogue.pricing import Price
from experts.catalogue.spec import ExpertSpec
from warehouse import ANSWERS, RAW_ANSWERS, InputError


class RecordedBackend:
    """Answers from a table of ANSWERS rows; see :class:`experts.backends.base.Backend`.

    The table is ``recording``: a folder of recorded answers (:mod:`experts.backends.recorded_folder`), a
    Parquet file with the columns of ANSWERS, or a folder of such files; or ``answers`` where the rows are at
    hand. A question that was never recorded is a row with the error ``NotRecorded``, so that it stays a
    missing cell.
    Scores come from the recording as well (:meth:`score`): the text of the answer is often not in it.
    """

    def __init__(self, spec: ExpertSpec, *, answers: pa.Table | None = None) -> None:
        self.spec = spec
        rows, prices = (answers, {}) if answers is not None else _load(spec)
        rows = rows.filter(pc.equal(rows["expert"], spec.name))
        if not rows.num_rows:
            raise InputError(
                f"the recording has no answer of expert {spec.name!r}",
                where=spec.recording,
                fix="check the name",
            )
        self._rows = rows
        self._is_billed = _is_billed(rows, prices.get(spec.name))
        self._position = {qid: i for i, qid in enumerate(rows["question_id"].to_pylist())}

    def answer(
        self, questions: pa.Table, *, purse: Purse | None = None, keep: Keep | None = None
    ) -> pa.Table:
        """Replay a batch; see :meth:`experts.backends.base.Backend.answer`."""
        replayed = self._replay(questions)
        if purse is None:
            return replayed
        tokens = [
            pc.fill_null(replayed[name], 0).to_pylist() for name in ("prompt_tokens", "completion_tokens")
        ]
        price = self.spec.price
        priced = [price.cost_usd(*pair) for pair in zip(*tokens, strict=True)]
        told = replayed["cost_usd"].to_pylist()
        costs = [own if usd is None else usd for own, usd in zip(priced, told, strict=True)]
        count, reserved_usd = reserve_batch(purse, costs)
        purse.settle(reserved_usd, sum(costs[:count]))
        unpaid = [RawAnswer(error=f"{BUDGET_SPENT}: no money is left for this question")] * (
            len(costs) - count
        )
        ids = questions["question_id"].to_pylist()
        return pa.concat_tables([replayed.slice(0, count), raw_table(ids[count:], unpaid)])

    def _replay(self, questions: pa.Table) -> pa.Table:
        ids = questions["question_id"].to_pylist()
        positions = self._positions(ids)
        found = self._rows.select(RAW_ANSWERS.names).take(positions)
        # The catalogue's price holds wherever there are tokens to apply it to and no bill was recorded.
        has_tokens = pc.and_(pc.is_valid(found["prompt_tokens"]), pc.is_valid(found["completion_tokens"]))
        has_tokens = pc.and_not(has_tokens, pc.fill_null(self._is_billed.take(positions), False))
        place = found.schema.get_field_index("cost_usd")
        found = found.set_column(place, "cost_usd", pc.if_else(has_tokens, None, found["cost_usd"]))
        missing = positions.is_null()
        if not missing.true_count:
            return found.set_column(0, "question_id", questions["question_id"]).cast(RAW_ANSWERS)
        blank = raw_table(
            ids, [RawAnswer(error="NotRecorded: no recorded answer to this question")] * len(ids)
        )
        columns = [pc.if_else(missing, blank[name], found[name]) for name in RAW_ANSWERS.names]
        return pa.table(columns, schema=RAW_ANSWERS)

    def score(self, raw: pa.Table) -> pa.Table:
        """Add ``score`` and ``grader`` to replayed rows: the recorded score, graded by "recorded"."""
        positions = self._positions(raw["question_id"].to_pylist())
        score = pc.if_else(raw["error"].is_null(), self._rows["score"].take(positions), None)
        grader = pc.if_else(score.is_null(), None, pa.scalar(RECORDED))
        return raw.append_column("score", score).append_column("grader", grader)

    def _positions(self, question_ids: list[str]) -> pa.Array:
        return pa.array([self._position.get(qid) for qid in question_ids], pa.int64())


def _is_billed(rows: pa.Table, price: Price | None) -> pa.Array:
    """Tell of each row whether its cost was recorded, rather than worked out at the recording's own price."""
    if price is None:
        return pa.repeat(pa.scalar(False), rows.num_rows)
    tokens = [rows[name].cast(pa.float64()).to_numpy() for name in ("prompt_tokens", "completion_tokens")]
    worked_out = price.cost_usd(*tokens)
    return pa.array(~np.isclose(rows["cost_usd"].to_numpy(), worked_out, rtol=1e-9, atol=0, equal_nan=True))


def _load(spec: ExpertSpec) -> tuple[pa.Table, dict[str, Price]]:
    """The recorded rows, and the prices at which a folder's costs were worked out."""
    if spec.recording is None:
        raise InputError(f"expert {spec.name!r} has no recording", fix="set `recording:` in the catalogue")
    path = Path(spec.recording)
    if not path.exists():
        raise InputError(
            "no such recording", where=str(path), fix="set `recording:` to a Parquet file or folder"
        )
    if (path / "experts.csv").is_file():
        _, rows, specs = read_recorded_folder(path)
        return rows, {other.name: other.price for other in specs}
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"not Parquet: {error}", where=str(path), fix="give a Parquet file") from None
    for column in ("question_id", "expert"):
        if column not in table.column_names:
            raise InputError(f"column {column!r} is missing", where=str(path))
    columns = [
        table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(table.num_rows, f.type)
        for f in ANSWERS
    ]
    return pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in ANSWERS])), {}
