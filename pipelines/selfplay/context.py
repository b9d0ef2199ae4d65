"""What the rounds of a run share: experts, sources of questions, the home's tables, one Ray connection."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.answering import round_money
from pipelines.commands.screen import print_line, show_progress
from pipelines.questions.brief import Brief, read_cells
from pipelines.questions.sources.base import QuestionSource
from pipelines.questions.sources.expert import ExpertSource
from pipelines.ray_session import ray_session
from pipelines.selfplay.round_record import RoundRecord
from warehouse import InputError, Outcomes, Warehouse, load_outcomes
from warehouse.home import Home

if TYPE_CHECKING:
    from experts import Catalogue, ExpertSpec
    from pipelines.answering.receipt import AnswerReceipt
    from pipelines.selfplay.run import SelfplayConfig


class Laboratory:
    """The setting of a run; a context manager that closes the Ray connection it may have opened."""

    def __init__(
        self,
        config: SelfplayConfig,
        home: Home,
        catalogue: Catalogue,
        *,
        learning: Sequence[QuestionSource],
        freezing: QuestionSource,
        judge: ExpertSpec | None = None,
    ) -> None:
        self.config, self.home, self.catalogue, self.judge = config, home, catalogue, judge
        self.learning, self.freezing = learning, freezing
        self.warehouse: Warehouse = home.warehouse()
        self._stack = contextlib.ExitStack()
        self._connected = False

    def __enter__(self) -> Laboratory:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def add_writer(self, name: str, run_id: str) -> None:
        """Have an expert write questions for gaps, before other sources; the other experts validate."""
        spec = self.catalogue.get(name)
        others = tuple(other for other in self.catalogue.experts if other.name != name)
        validators = others if len(others) > 1 else self.catalogue.experts
        writer = ExpertSource(spec, validators, self.warehouse, run_id=run_id)
        self.learning = [writer, *self.learning]

    def first_brief(self, frozen_ids: Sequence[str]) -> Brief:
        """What the home's earlier answers say before the first round of a run."""
        learned, _ = self.outcomes(frozen_ids)
        if learned is None:
            return Brief()
        with self.warehouse.connect() as connection:
            return Brief(read_cells(connection, learned.question_ids.tolist(), self.catalogue.names))

    def connect(self) -> None:
        """Have a Ray connection from here on; starting a cluster takes half a minute, so only when needed."""
        if not self._connected:
            self._stack.enter_context(ray_session(self.config.address))
            self._connected = True

    def record(self, name: str) -> RoundRecord:
        """The record of a round, or of the frozen set."""
        return RoundRecord(self.home.path / "rounds" / f"{name}.json")

    def spent_usd(self, round: str) -> float:
        """What a round has cost; see :func:`pipelines.answering.round_money.spent_usd`."""
        return round_money.spent_usd(self.warehouse, round)

    def left_usd(self, round: str, budget_usd: float | None) -> float | None:
        """What a budget leaves after all that the round has cost, in earlier attempts too; None: no limit."""
        return round_money.left_usd(self.warehouse, round, budget_usd)

    def used_ids(self) -> list[str]:
        """Ids of the questions that rounds of this home have been given."""
        records = (RoundRecord(path) for path in sorted((self.home.path / "rounds").glob("*.json")))
        return [identity for r in records if "questions" in r and "refusals" in r["questions"]
                for identity in r["questions"]["ids"]]  # fmt: skip

    def questions(self, ids: Sequence[str]) -> pa.Table:
        """QUESTIONS rows of these ids, in their order."""
        table = self.warehouse.scan("questions")
        place = pc.index_in(pa.array(ids, pa.string()), value_set=table["question_id"].combine_chunks())
        if place.null_count:
            raise InputError(
                f"{place.null_count} questions of this round are not in the warehouse any more",
                where=self.warehouse.url,
                fix=f"restore them, or delete {self.home.path / 'rounds'} to begin anew",
            )
        return table.take(place)

    def outcomes(self, frozen_ids: Sequence[str]) -> tuple[Outcomes | None, Outcomes | None]:
        """Outcomes of the experts on what may be learned from, and on the frozen set; None where empty."""
        from orchestrator.text.splits import frozen_split

        try:
            every = load_outcomes(self.warehouse)
        except InputError:
            return None, None
        names = [name for name in self.catalogue.names if name in every.experts]
        if not names:
            return None, None
        every = every.only(names)
        split = frozen_split(every.prompts)
        learned = np.zeros(len(every), bool)
        learned[split.train] = learned[split.validation] = True
        is_frozen = np.isin(every.question_ids, list(frozen_ids))
        learned &= ~is_frozen
        parts = [every.take(mask).answered() for mask in (learned, is_frozen)]
        return (parts[0] if len(parts[0]) else None), (parts[1] if len(parts[1]) else None)

    def answer(
        self, questions: dict[str, pa.Table], round: str, run_id: str, budget_usd: float | None
    ) -> list[AnswerReceipt]:
        """Have the experts answer what they have not answered yet, and the judge grade what no rule can."""
        from pipelines.answering.bulk import answer_open_work
        from pipelines.answering.open_work import find_open_work

        work = find_open_work(self.warehouse, self.catalogue.experts, questions)
        if work:
            self.connect()
        else:
            print_line("Every question has been answered before; nothing is asked twice.")
        before_usd = self.spent_usd(round)
        with show_progress({name: table.num_rows for name, table in work.offered.items()}) as advance:
            receipts = answer_open_work(
                self.warehouse, work, round=round, run_id=run_id, budget_usd=budget_usd, on_progress=advance
            )
        if budget_usd is not None:
            budget_usd = max(budget_usd - (self.spent_usd(round) - before_usd), 0.0)
        self._judge(round, run_id, budget_usd)
        return receipts

    def _judge(self, round: str, run_id: str, budget_usd: float | None) -> None:
        from pipelines.answering.judging import judge_answers

        if self.judge is None:
            return
        found = judge_answers(
            self.warehouse, self.judge, round=round, run_id=run_id, budget_usd=budget_usd,
            connect=self.connect,
        )  # fmt: skip
        if not found.judged + found.unscored:
            return
        print_line(
            f"{self.judge.name} judged {found.judged} answers for {found.judge.cost_usd:.6f} USD;"
            f" {found.unscored} have no score" + (f": {found.judge.problem}" if found.judge.problem else "")
        )
