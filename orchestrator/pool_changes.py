"""Change the pool of a trained orchestrator without retraining: add an expert from probes, retire one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.policy import Orchestrator
from orchestrator.predictors.added_experts import ExtendedPredictor, pick_probes
from orchestrator.predictors.cost import CostPredictor
from orchestrator.predictors.mean_prior import MeanPrior, prior_of_price
from orchestrator.predictors.registry import predictor_from_state
from orchestrator.selection.presets import Preset
from orchestrator.text.queries import read_queries
from orchestrator.text.splits import frozen_split
from warehouse import InputError, NotReadyError, Outcomes, TooFewError


def choose_probes(
    orchestrator: Orchestrator,
    outcomes: Outcomes,
    count: int,
    *,
    seed: int = 0,
) -> NDArray[np.intp]:
    """Choose which questions to ask a new expert: rows of ``outcomes``, none from the frozen test part.

    Questions are the likelier to be chosen the more the known experts' answers to them differ.

    Raises:
        NotReadyError: there are no questions to choose from.
    """
    split = frozen_split(outcomes.prompts)
    candidates = np.sort(np.concatenate([split.train, split.validation]))
    if not len(candidates):
        raise NotReadyError(
            "there are no questions to probe an expert with", fix="import or make questions first"
        )
    known = [name for name in orchestrator.info["mean_score"] if name in outcomes.experts]
    score = outcomes.only(known).score if known else np.zeros((len(outcomes), 0), np.float32)
    return candidates[pick_probes(score[candidates], count, seed=seed)]


def choose_test_questions(
    orchestrator: Orchestrator, outcomes: Outcomes, count: int, *, seed: int = 0
) -> NDArray[np.intp]:
    """Choose at random which questions to ask a new expert for the test against the champion alone.

    Returns up to ``count`` rows of ``outcomes`` from the frozen test part that the whole pool has answered.
    """
    test = frozen_split(outcomes.prompts).test
    own = outcomes.only(orchestrator.experts)
    complete = np.asarray(np.isfinite(own.score + own.cost_usd).all(axis=1))
    candidates = np.random.default_rng(seed).permutation(test[complete[test]])
    return np.sort(candidates[:count])


def add_expert(orchestrator: Orchestrator, name: str, probes: Outcomes) -> Orchestrator:
    """Return an orchestrator with one more expert in its pool, fitted from its answers to the probes.

    Args:
        orchestrator: left as it is.
        name: the new expert, a column of ``probes``.
        probes: what it and the known experts scored and cost on the probe questions.

    Raises:
        InputError: it is in the pool already.
        TooFewError: it answered fewer than 10 probes.
    """
    if name in orchestrator.experts:
        raise InputError(f"{name!r} is in the pool already", fix=f"`leeroo experts retire {name}` first")
    column = probes.experts.index(name)
    answered = int(np.isfinite(probes.score[:, column]).sum())
    if answered < 10:
        raise TooFewError(
            f"{name!r} answered {answered} probes, too few to place it", fix="ask at least 10, better 200"
        )
    predictor, means = _extended(orchestrator)
    own = list(means)
    known = np.full((len(probes), len(own)), np.nan, np.float32)
    for j, expert in enumerate(own):
        if expert in probes.experts:
            known[:, j] = probes.score[:, probes.experts.index(expert)]
    queries = read_queries(probes.texts, orchestrator.embedder)
    cost_usd = probes.cost_usd[:, column]
    prior = _expect_mean(orchestrator, cost_usd)
    predictor.add_expert(name, queries, probes.score[:, column], known, prior)
    cost = CostPredictor.from_state(orchestrator.cost.state())
    cost.add_expert(name, queries, cost_usd)
    return _changed(orchestrator, predictor, cost, f"added {name} from {answered} probes")


def retire_expert(orchestrator: Orchestrator, name: str) -> Orchestrator:
    """Return an orchestrator that will not choose ``name`` any more.

    Raises:
        InputError: it is not in the pool, or the last one there.
    """
    if orchestrator.experts == (name,):
        raise InputError(f"{name!r} is the only expert", fix="add another one first")
    predictor, _ = _extended(orchestrator)
    predictor.remove_expert(name)
    cost = CostPredictor.from_state(orchestrator.cost.state())
    cost.remove_expert(name)
    return _changed(orchestrator, predictor, cost, f"retired {name}")


def _extended(orchestrator: Orchestrator) -> tuple[ExtendedPredictor, dict[str, float]]:
    """A predictor of its own whose pool can change, and the mean scores of the experts it was trained on."""
    means: dict[str, float] = orchestrator.info["mean_score"]
    if isinstance(orchestrator.predictor, ExtendedPredictor):
        return ExtendedPredictor.from_state(orchestrator.predictor.state(), predictor_from_state), means
    return ExtendedPredictor(orchestrator.predictor, np.array(list(means.values()), np.float32)), means


def _expect_mean(orchestrator: Orchestrator, cost_usd: NDArray[np.float64]) -> MeanPrior | None:
    """What experts of the price of these answers [n] score, as far as the known ones tell."""
    if not np.isfinite(cost_usd).any():
        return None
    # a mean that is not known is None, which becomes NaN
    means, costs = (
        np.array(list(orchestrator.info[key].values()), float) for key in ("mean_score", "mean_cost_usd")
    )
    return prior_of_price(means, costs, float(np.nanmean(cost_usd)))


def _changed(
    orchestrator: Orchestrator, predictor: ExtendedPredictor, cost: CostPredictor, change: str
) -> Orchestrator:
    info = {
        **orchestrator.info,
        "experts": list(predictor.experts),
        "changes": [*orchestrator.info.get("changes", []), change],
    }
    presets = {name: Preset(preset.multiplier) for name, preset in orchestrator.presets.items()}
    habits = orchestrator.habits.of_pool(predictor.experts) if orchestrator.habits else None
    return replace(orchestrator, predictor=predictor, cost=cost, presets=presets, info=info, habits=habits)
