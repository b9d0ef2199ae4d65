"""Expected score and cost of each expert, by predictors that did not see the answer in question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.text.registry import FAST_EMBEDDER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from orchestrator import Examples
    from universe.analysis.held_out import HeldOutValue
    from universe.model.expectation import Expected, Rows
    from universe.model.limits import Limits
    from warehouse import Outcomes


def expected_success(
    outcomes: Outcomes,
    *,
    embedder: str = FAST_EMBEDDER,
    seed: int = 0,
    cache_dir: Path | None = None,
    on_progress: Callable[[str, float], None] = lambda step, share: None,
) -> Expected:
    """Return cross-fitted success (tuned kNN) and cost (ridge) for every question and expert.

    ``on_progress`` is called with the next step and the share of the work that is done.
    """
    from universe.model.expectation import cross_fit

    on_progress(f"reading {len(outcomes):,} questions with {embedder}", 0.0)
    examples = read_examples(outcomes, embedder, cache_dir)
    return cross_fit(
        outcomes,
        lambda train, test: fit_predict(examples, train, test, seed),
        seed=seed,
        on_fold=lambda done, folds: on_progress(f"fold {done + 1} of {folds}", (1 + done) / (1 + folds)),
    )


def held_out(
    outcomes: Outcomes,
    limits: Limits,
    settings: dict[str, Any],
    *,
    embedder: str,
    cache_dir: Path,
    seed: int = 0,
) -> HeldOutValue:
    """Choose experts on 60% of the questions in the same way, and evaluate routing on the other 40%."""
    import numpy as np

    from universe.analysis.held_out import route_held_out
    from universe.model.expectation import Expected
    from universe.solver.select import select_universe

    train, test = split_to_judge(outcomes, seed)
    seen = outcomes.take(train)
    settings = {**settings}
    if settings["expected"] is not None:
        settings["expected"] = expected_success(seen, embedder=embedder, seed=seed, cache_dir=cache_dir)
    universe = select_universe(seen, limits=limits, **settings)
    score, cost = fit_predict(read_examples(outcomes, embedder, cache_dir), train, test, seed)
    predicted = Expected(np.clip(score, 0, 1), cost)
    return route_held_out(outcomes.take(test), predicted, universe.experts, prices=universe.prices)


def split_to_judge(outcomes: Outcomes, seed: int = 0) -> tuple[Rows, Rows]:
    """Return rows of 60% of the questions, to choose on, and of the others; equal prompts stay together."""
    import numpy as np

    from warehouse import text_keys

    _, text = np.unique(text_keys(outcomes.prompts), return_inverse=True)
    trained = np.random.default_rng(seed).random(int(text.max()) + 1)[text] < 0.6
    return np.flatnonzero(trained), np.flatnonzero(~trained)


def read_examples(outcomes: Outcomes, embedder: str, cache_dir: Path | None) -> Examples:
    """The questions as predictors read them, with their outcomes."""
    from orchestrator import Examples, load_embedder, read_queries

    return Examples(read_queries(outcomes.texts, load_embedder(embedder, cache_dir=cache_dir)), outcomes)


def fit_predict(
    examples: Examples, train: Rows, test: Rows, seed: int = 0
) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
    """Success and cost [test rows, m] by predictors of the training rows, a fifth of which tune them."""
    import numpy as np

    from orchestrator import CostPredictor, KnnPredictor

    shuffled = np.random.default_rng(seed).permutation(train)
    tune = max(1, len(shuffled) // 5)
    fit, validation = examples.take(shuffled[tune:]), examples.take(shuffled[:tune])
    queries = examples.queries.take(test)
    success = KnnPredictor().fit(fit, validation, seed=seed).refit(examples.take(train)).predict(queries)
    return success, CostPredictor().fit(fit, validation).predict(queries)
