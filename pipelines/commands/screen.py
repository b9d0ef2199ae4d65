"""Prints a run of rounds: each event as lines and tables, and bars while the experts answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, assert_never

from pipelines.commands.round_tables import (
    domain_table,
    expert_table,
    purchase_table,
    refusal_lines,
    result_line,
)
from pipelines.commands.terminal.console import Terminal, print_line, print_step
from pipelines.commands.terminal.progress import spell_s, working
from pipelines.ray_session import log_folder
from pipelines.selfplay.events import (
    Answered,
    AnsweringBegins,
    AnswersCame,
    Assigned,
    Event,
    FrozenSet,
    GapsFound,
    LeftOut,
    Measured,
    QuestionsMade,
    RoundDone,
    RunDone,
    Tested,
    Trained,
    UniverseChosen,
)

if TYPE_CHECKING:
    from pipelines.learning.training import TrainingResult


#: What a round does after an event, until the next one.
_NEXT: dict[type, str] = {
    FrozenSet: "making questions",
    QuestionsMade: "choosing whom to ask",
    Assigned: "opening the experts",
    Answered: "choosing which experts to keep",
    UniverseChosen: "training the router, and evaluating it",
    Trained: "measuring what the round bought",
    Measured: "putting the version to the test",
    Tested: "looking for gaps",
}


class Screen:
    """Prints what a run tells. A context manager: it ends the bars, whatever happens.

    >>> with Screen() as screen:  # doctest: +SKIP
    ...     run_selfplay(settings, home, screen.show)
    """

    def __init__(self) -> None:
        self._bars = contextlib.ExitStack()
        self._waiting = contextlib.ExitStack()  # says what is being done where nothing is printed for long
        self._are_logs_named = False
        self._advance: Callable[[str, int], None] = lambda expert, count: None

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self._waiting.close()
        self._bars.close()

    def show(self, event: Event) -> None:
        """Print an event, and say what comes next if that takes long."""
        self._waiting.close()
        self._show(event)
        if type(event) in _NEXT:
            self._waiting.enter_context(working(_NEXT[type(event)]))

    def _name_logs(self) -> None:
        if not self._are_logs_named and (folder := log_folder()) is not None:
            print_line(f"  (Ray and vLLM log to {folder} until the run ends)")
        self._are_logs_named = True

    def _show(self, event: Event) -> None:
        match event:
            case FrozenSet():
                _show_frozen_set(event)
            case QuestionsMade():
                count = len(event.question_ids)
                print_step(f"Round {event.round}: {count} questions for {event.experts} experts")
                for line in refusal_lines(event.refusals):
                    print_line(line)
            case Assigned():
                _show_assigned(event)
            case AnsweringBegins():
                if not event.is_frozen:
                    print_line("The experts answer (Ray Data, one actor pool per expert):")
                if not event.is_open:
                    print_line("Every question has been answered before; nothing is asked twice.")
                self._advance = self._bars.enter_context(show_progress(event.questions))
            case AnswersCame():
                self._name_logs()
                self._advance(event.expert, event.count)
            case Answered():
                self._bars.close()
                _show_answered(event)
            case LeftOut():
                why = "no answer has both a score and a cost; the others go on without"
                print_line(f"{', '.join(event.experts)}: {why}")
            case UniverseChosen():
                from universe.report.tables import render_universe

                print_step("Universe")
                Terminal().print(render_universe(event.universe))
            case Trained():
                print_step("Router")
                print_training(event.trained)
            case Measured():
                if event.problem is not None:
                    print_line(f"What the round bought cannot be told: {event.problem}")
            case Tested():
                print_line(f"Router version {event.standing.version} {event.standing.verdict}")
            case GapsFound():
                for line in event.lines:
                    print_line(line)
            case RoundDone():
                if event.is_kept:
                    print_step(f"Round {event.result.round} is done")
                print_line(result_line(event.result))
            case RunDone():
                result = event.result
                print_step("What the rounds bought")
                Terminal().print(purchase_table(result.rounds, result.frozen_cost_usd))
                print_line(f"{result.stopped} `leeroo ui` shows it: MLflow run {result.run_id}.")
            case _:
                assert_never(event)


def _show_frozen_set(event: FrozenSet) -> None:
    if event.fallen is not None:
        print_line(
            f"{event.source}: {event.fallen} of {event.total} questions fall to the part that is never"
            f" learned from, by a hash of the prompt; {event.questions} of these are the frozen set"
        )
    print_line(f"Frozen evaluation set: {event.questions} questions, never trained on")


def _show_assigned(event: Assigned) -> None:
    if event.question_ids is None:
        return
    counts = {name: len(ids) for name, ids in event.question_ids.items()}
    print_line(
        f"Explorer: {sum(counts.values())} of {event.all_on_all} answers, about {event.expected_usd:.3g} of"
        f" {event.all_on_all_usd:.3g} USD: " + ", ".join(f"{name} {count}" for name, count in counts.items())
    )


def _show_answered(event: Answered) -> None:
    judged = event.judged
    if judged is not None and judged.judged + judged.unscored:
        print_line(
            f"{event.judge} judged {judged.judged} answers for {judged.judge.cost_usd:.6f} USD;"
            f" {judged.unscored} have no score"
            + (f": {judged.judge.problem}" if judged.judge.problem else "")
        )
    for receipt in event.receipts:
        if receipt.problem:
            print_line(f"{receipt.expert}: {receipt.problem}")
    if event.domains is not None:
        Terminal().print(expert_table(event.domains, event.receipts))
        Terminal().print(domain_table(event.domains))


def print_training(trained: TrainingResult) -> None:
    """Print how a router was judged, or that there was nothing to train."""
    if not trained.is_new:
        version = trained.version
        print_line(f"Router version {version} was trained on exactly these outcomes; it stands.")
    elif trained.report is not None:
        from orchestrator.evaluation.report_tables import render_report

        Terminal().print(render_report(trained.report))
    if trained.presets:
        from orchestrator.evaluation.report_tables import render_presets

        Terminal().print(render_presets(trained.presets))


@contextlib.contextmanager
def show_progress(total: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """Show a bar per expert on a terminal; in a log file, a line for every tenth.

    Args:
        total: questions by expert's name.

    Yields:
        What to call with an expert's name and the number of its questions answered since the last call.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("  {task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    began_s = time.monotonic()
    console = Terminal()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {name: bars.add_task(name, total=count) for name, count in total.items()}

        def advance(name: str, answered: int) -> None:
            task = tasks[name]
            before = bars.tasks[task].completed
            bars.advance(task, answered)
            done, count = bars.tasks[task].completed, total[name]
            if bars.disable and count and int(10 * done / count) > int(10 * before / count):
                left_s = (time.monotonic() - began_s) * (count - done) / done
                left = f", about {spell_s(left_s)} left" if done < count else ""
                print_line(f"  {name}: {done:,.0f} of {count:,}{left}")

        yield advance
