"""Statistics of how the experts of a pool answer: learned once, saved with the router."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.beliefs import AnswerModel
from orchestrator.asking.lengths import AnswerLengths
from orchestrator.asking.sureness import Sureness
from orchestrator.predictors.states import State
from warehouse import InputError

KIND, VERSION = "asking", 1
DEPTHS = 3  # a second, a third, and every later answer

Floats = NDArray[np.float64]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Habits:
    """Statistics of the answers of ``m`` experts, and how far the model of them may be trusted."""

    experts: tuple[str, ...]  # [m]
    comparable: NDArray[np.bool_]  # [m] whose answers can be compared with those of others
    unreadable: Floats  # [m] share of answers that cannot be used, below 1
    model: AnswerModel
    trust: Floats  # [DEPTHS] share of a gain foreseen of a further answer that comes true
    lengths: AnswerLengths
    foresight: float = 1.0  # share that comes true of what asking on is said to net, before the first ask
    sureness: Sureness = field(default_factory=Sureness.as_believed)

    @classmethod
    def unknown(cls, experts: tuple[str, ...]) -> Self:
        """Return what is known where no answers can be compared: one ask, and the next if it is of no use."""
        m = len(experts)
        model = AnswerModel(np.ones(m), np.full(m, 0.5), 0.05)
        return cls(experts, np.zeros(m, bool), np.zeros(m), model, np.ones(DEPTHS), AnswerLengths.silent(m))

    def without_comparison(self) -> Self:
        """Return the habits for questions whose answers cannot be compared, whoever gives them."""
        return replace(self, comparable=np.zeros_like(self.comparable))

    def of_pool(self, experts: tuple[str, ...]) -> Self:
        """Return the habits of another pool; a new expert is assumed to equal the mean of the others.

        Its answers can be compared if those of any other expert can; their lengths say nothing.
        """
        place = np.array(
            [self.experts.index(name) if name in self.experts else -1 for name in experts], np.intp
        )

        def joined(values: NDArray[Any]) -> Floats:
            typical = values[self.comparable].mean() if self.comparable.any() else values.mean()
            own: Floats = np.append(values, typical)[place]
            return own

        model = AnswerModel(joined(self.model.slopes), joined(self.model.popular), self.model.inverted)
        comparable = np.append(self.comparable, self.comparable.any())[place]
        return replace(
            self,
            experts=experts,
            comparable=comparable,
            unreadable=joined(self.unreadable),
            model=model,
            lengths=self.lengths.take(place),
        )

    def state(self) -> State:
        """Return what :meth:`from_state` needs to give the same bits again."""
        arrays = {
            "comparable": self.comparable,
            "unreadable": self.unreadable,
            "slopes": self.model.slopes,
            "popular": self.model.popular,
            "inverted": np.array([self.model.inverted]),
            "trust": self.trust,
            "foresight": np.array([self.foresight]),
            "length_centre": self.lengths.centre,
            "length_deviation": self.lengths.deviation,
            "length_weights": self.lengths.weights,
            "length_trust": np.array([self.lengths.trust]),
            "sure_slope": self.sureness.slope,
            "sure_offset": self.sureness.offset,
        }
        return State(KIND, {"experts": list(self.experts)}, arrays, VERSION)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Rebuild what was saved; of habits saved before there was a foresight it is taken to hold.

        Those saved before there were lengths say nothing of them; what is believed is not corrected in those
        saved before there was a correction.

        Raises:
            InputError: something is missing, or they were saved by a later version.
        """
        state.refuse_newer(VERSION)
        arrays = state.arrays
        model = AnswerModel(arrays["slopes"], arrays["popular"], float(arrays["inverted"][0]))
        lengths = AnswerLengths.silent(len(arrays["unreadable"]))
        if "length_weights" in arrays:
            lengths = AnswerLengths(
                arrays["length_centre"],
                arrays["length_deviation"],
                arrays["length_weights"],
                float(arrays["length_trust"][0]),
            )
        sureness = Sureness.as_believed()
        if "sure_slope" in arrays:
            sureness = Sureness(arrays["sure_slope"], arrays["sure_offset"])
        return cls(
            tuple(state.config["experts"]),
            arrays["comparable"],
            arrays["unreadable"],
            model,
            arrays["trust"],
            lengths,
            float(arrays.get("foresight", np.ones(1))[0]),
            sureness,
        )


def read_habits(state: State | None) -> Habits | None:
    """Return saved habits; None, with a log message, if they cannot be read.

    A router decides without them: it asks one expert.
    """
    if state is None:
        return None
    try:
        return Habits.from_state(state)
    except InputError as unread:
        _log.warning("one expert will be asked for each answer, since saved habits were left out: %s", unread)
        return None
