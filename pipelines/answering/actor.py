"""The Ray actor that holds experts: answers blocks of questions, grades them, and stores them at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.answering.driver_watch import Driver, end_with
from pipelines.answering.open_work import open_questions
from pipelines.answering.paid_calls import PaidCalls
from pipelines.answering.round_cap import holder_prefix
from pipelines.answering.taking_in import take_in_journals
from pipelines.answering.worth_keeping import is_lost
from warehouse import LeerooError, Warehouse

if TYPE_CHECKING:
    from experts import ExpertSpec
    from experts.backends.spend_cap import Purse, ReserveOutcome

#: Blocks in a row without a single answer after which an expert is asked no more.
FAILED_BLOCKS = 2

#: The column that says whom a block of questions is for.
EXPERT_COLUMN = "expert"


class ExpertActor:
    """A Ray Data actor with one engine, for one expert or for several that share it.

    Blocks run side by side, each in a thread of Ray's, and meet in the engine: it never runs dry between
    them. An answered block is stored before its receipt leaves, so that a crash loses only what the engine
    had not finished; a block that Ray sends again is not asked again where it had been stored. The answers
    of a paid API are kept one by one, see :class:`pipelines.answering.paid_calls.PaidCalls`.

    Args:
        specs: the experts; those of vLLM share one engine.
        warehouse_url: where answers go.
        round: the partition to store under.
        run_id: kept on every row.
        driver: the process with which this one ends.
        cap: handle of the actor of :func:`pipelines.answering.round_cap.hold_cap`, if there is one.
        session: of the run of answers, where each call is paid for; then this is the only actor of the one
            expert.
    """

    def __init__(
        self,
        specs: Sequence[ExpertSpec],
        warehouse_url: str,
        round: str,
        run_id: str,
        driver: Driver,
        cap: Any = None,
        session: str | None = None,
    ) -> None:
        from experts import Backend, build_backends

        end_with(driver)

        self._specs = {spec.name: spec for spec in specs}
        self._cannot_start: str | None = None
        self._backends: dict[str, Backend] = {}
        try:
            self._backends = build_backends(specs)
        except LeerooError as error:  # a key is missing, or a folder: for a person to mend, so in their words
            self._cannot_start = str(error)
        self._warehouse = Warehouse(warehouse_url)
        self._round, self._run_id = round, run_id
        self._purse: Purse | None = SharedPurse(cap, specs[0].name) if cap is not None else None
        self._calls: PaidCalls | None = None
        if session is not None:
            # What a former self of this actor was told before it died.
            take_in_journals(self._warehouse, expert=specs[0].name)
            self._calls = PaidCalls(warehouse_url, round, run_id, specs[0], session, self._purse)
            self._purse = self._calls
        self._failed = Counter[str]()
        self._has_answered: set[str] = set()
        self._lock = threading.Lock()
        self._ready_at = time.time()

    def __call__(self, block: pa.Table) -> pa.Table:
        """Answer, grade and store a block; return its receipt of one row.

        The receipt has ``expert``, ``rows`` (stored, now or before), ``ready_at`` (when the engine was, in
        seconds since 1970) and ``problem`` (why not all rows are there).
        """
        name = block[EXPERT_COLUMN][0].as_py()
        if self._cannot_start:
            return self._receipt(name, 0, self._cannot_start)
        if self._failed[name] >= FAILED_BLOCKS:
            return self._receipt(name, 0, None)
        spec = self._specs[name]
        questions = block.drop_columns([EXPERT_COLUMN])
        todo = open_questions(self._warehouse, spec, questions)
        stored = questions.num_rows - todo.num_rows
        answers, problem = self._answer(spec, todo) if todo.num_rows else (todo, None)
        if todo.num_rows and answers.num_rows:
            stored += self._warehouse.append("answers", answers, round=self._round, expert=name)
        return self._receipt(name, stored, problem)

    def _answer(self, spec: ExpertSpec, questions: pa.Table) -> tuple[pa.Table, str | None]:
        """Return the rows worth keeping, and why there are fewer than questions."""
        from experts import BUDGET_SPENT, answer_and_grade, has_error

        answers = answer_and_grade(
            self._backends[spec.name],
            spec,
            questions,
            round=self._round,
            run_id=self._run_id,
            purse=self._purse,
            keep=self._calls.keeper(questions) if self._calls else None,
        )
        if self._calls:
            answers = self._calls.stamp(answers)
        unpaid = has_error(answers, BUDGET_SPENT)
        problem = "the budget is spent" if pc.any(unpaid).as_py() else None
        answers = answers.filter(pc.invert(unpaid))
        with self._lock:
            if answers["error"].null_count:
                self._has_answered.add(spec.name)
            # A single refusal tells nothing about the expert.
            has_answered = spec.name in self._has_answered or answers.num_rows == 1
            lost = is_lost(answers, has_answered=has_answered)
            kept, failures = answers.filter(pc.invert(lost)), answers.filter(lost)["error"]
            if kept.num_rows or not len(failures):
                self._failed[spec.name] = 0
            else:
                self._failed[spec.name] += 1
        if len(failures):
            count = f"{len(failures)} of {answers.num_rows}" if kept.num_rows else "every"
            failure = f"{count} answer{'s' * bool(kept.num_rows)} failed: {failures[0].as_py()}"
            problem = f"{failure}; {problem}" if problem else failure
        return kept, problem

    def _receipt(self, expert: str, rows: int, problem: str | None) -> pa.Table:
        columns = {"expert": [expert], "rows": [rows], "ready_at": [self._ready_at]}
        return pa.table(columns | {"problem": pa.array([problem], pa.string())})


class SharedPurse:
    """The round's cap as the holder of one actor sees it; see :class:`experts.backends.spend_cap.Purse`."""

    def __init__(self, cap: Any, name: str) -> None:
        import ray

        self._cap = cap
        # The same before and after a restart of the actor: what a former self had out may have been billed.
        self._holder = holder_prefix(name) + ray.get_runtime_context().get_actor_id()
        ray.get(cap.forfeit.remote(self._holder))

    def reserve(self, usd: float) -> ReserveOutcome:
        """Ask for money; see :meth:`experts.SpendCap.reserve`."""
        import ray

        grant: ReserveOutcome = ray.get(self._cap.reserve.remote(usd, self._holder))
        return grant

    def settle(self, reserved_usd: float, spent_usd: float) -> None:
        """Book what it came to; see :meth:`experts.SpendCap.settle`."""
        import ray

        ray.get(self._cap.settle.remote(reserved_usd, spent_usd, self._holder))
