"""A specialist against its base: on held-out questions of the gap, and elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from experts import ExpertSpec
from pipelines.forge.base import load_base
from pipelines.forge.examples import Choice, encode_choices
from pipelines.forge.gap import TargetGap
from pipelines.forge.likelihood import right_choices
from pipelines.forge.recipe import TrainRecipe
from pipelines.questions.make import make_questions
from pipelines.questions.sources.base import is_frozen
from warehouse import InputError

REPLICATES = 2_000  # of the bootstrap
CLOSED, FORGETTING = 0.60, 0.03  # what a specialist has to reach in its gap, and may lose elsewhere

Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval (bootstrap over questions)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Contest:
    """Base and specialist on the same questions; the difference is paired."""

    name: str
    questions: int
    chance: float
    base: Interval
    specialist: Interval
    difference: Interval

    @property
    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def contest(name: str, base: Right, specialist: Right, chance: float, *, seed: int = 0) -> Contest:
    """Compare two experts' right answers on the same questions [n].

    Raises:
        InputError: there are none, or they are not the same questions.
    """
    if base.shape != specialist.shape or not len(base):
        raise InputError("base and specialist need answers to the same questions", where=name)
    first, second = base.astype(np.float64), specialist.astype(np.float64)
    rows = np.random.default_rng(seed).integers(0, len(first), (REPLICATES, len(first)))

    def interval(values: NDArray[np.float64]) -> Interval:
        low, high = np.quantile(values[rows].mean(axis=1), [0.025, 0.975])
        return Interval(float(values.mean()), float(low), float(high))

    return Contest(name, len(first), chance, interval(first), interval(second), interval(second - first))


@dataclass(frozen=True)
class Comparison:
    """What the test says: the gap by level and in all, and the rest."""

    gap: Contest
    levels: tuple[Contest, ...]
    elsewhere: Contest

    @property
    def is_closed(self) -> bool:
        """It reaches ``CLOSED``, beyond base and chance by more than noise."""
        mine = self.gap.specialist
        return mine.value >= CLOSED and mine.low > self.gap.chance and self.gap.difference.low > 0

    @property
    def forgets(self) -> bool:
        """It loses more than ``FORGETTING`` elsewhere."""
        return self.elsewhere.difference.value < -FORGETTING


def other_questions(home_questions: pa.Table, gap: TargetGap, count: int, *, seed: int) -> pa.Table:
    """Questions of the evaluation side in the home's other domains, made by their generators.

    Raises:
        InputError: the home has none.
    """
    own = {name.split("/")[0] for name, _ in gap.cells}
    kinds = {
        f"{row['domain']}/{row['subject']}"
        for row in home_questions.select(["domain", "subject", "source"]).to_pylist()
        if row["domain"] not in own and row["subject"]
    }
    from pipelines.questions.generator import list_generators

    names = sorted(kinds & {generator.name for generator in list_generators()})
    if not names:
        raise InputError("no other domain has a generator to see what is forgotten", where=gap.name)
    each = -(-count // len(names))
    made = make_questions(names, each, seed, "forge", accept=is_frozen, allow_fewer=True)
    return made.filter(pc.equal(made["kind"], "choice"))


def compare_specialist(
    base: ExpertSpec, adapter: Path, held_out: pa.Table, elsewhere: pa.Table, recipe: TrainRecipe
) -> Comparison:
    """Ask base and specialist the same questions, as the engine would rank their options.

    Args:
        base: the expert that was tuned.
        adapter: folder of the adapter.
        held_out: QUESTIONS rows of the gap that nothing was learned from.
        elsewhere: of other domains.
        recipe: format and threads.
    """
    from peft import PeftModel

    model, tokenizer = load_base(base, recipe)
    tuned = PeftModel.from_pretrained(model, str(adapter))
    tuned.eval()

    def ask(questions: pa.Table) -> tuple[Right, Right, NDArray[np.float64]]:
        choices = encode_choices(questions, base, tokenizer)
        with tuned.disable_adapter():
            before = right_choices(tuned, choices)
        return before, right_choices(tuned, choices), _chance(choices)

    before, after, chance = ask(held_out)
    level = np.array(held_out["difficulty"].to_pylist())
    levels = tuple(
        contest(f"level {n}", before[level == n], after[level == n], float(chance[level == n].mean()))
        for n in sorted(set(level.tolist()))
    )
    others = ask(elsewhere)
    return Comparison(
        contest("the gap", before, after, float(chance.mean())),
        levels,
        contest("elsewhere", others[0], others[1], float(others[2].mean())),
    )


def _chance(choices: Sequence[Choice]) -> NDArray[np.float64]:
    return np.array([1 / len(choice.options) for choice in choices])
