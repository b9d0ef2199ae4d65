"""Choose which experts to keep for a budget, with a proof, and see what each is worth.

Run: python examples/universe_for_a_budget.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from train_and_route import read_outcomes

from orchestrator import Examples, KnnPredictor, load_embedder, read_queries
from universe import Limits, cross_fit, marginal_values, select_universe, universe_program


def main() -> None:
    """Print the best set of experts at three budgets."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = read_outcomes(Path(folder))
    examples = Examples(read_queries(outcomes.texts, load_embedder("wordllama")), outcomes)

    def fit_predict(
        train: NDArray[np.intp], test: NDArray[np.intp]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return expected success and cost of the questions `test`, learned from `train` alone."""
        cut = len(train) * 4 // 5
        predictor = KnnPredictor().fit(examples.take(train[:cut]), examples.take(train[cut:]))
        cost_usd = np.nanmean(outcomes.cost_usd[train], axis=0)
        return predictor.predict(examples.queries.take(test)), np.tile(cost_usd, (len(test), 1))

    expected = cross_fit(outcomes, fit_predict)
    dearest_usd = float(np.nanmean(outcomes.cost_usd, axis=0).max())
    for share in (0.1, 0.5, 1.0):
        found = select_universe(outcomes, expected=expected, max_experts=2, max_cost_usd=share * dearest_usd)
        print(f"${1000 * share * dearest_usd:.4f} per 1,000 queries: keep {', '.join(found.experts)}")
        print(f"  expected score {found.expected_score:.3f}, {found.status}, gap {found.gap:.1e}")
    program = universe_program(outcomes, expected=expected, limits=Limits(max_experts=2))
    for value in marginal_values(program, found.experts):
        print(f"  {value.expert}: {'kept' if value.kept else 'left out'}, worth {value.value:+.3f}")


if __name__ == "__main__":
    main()
