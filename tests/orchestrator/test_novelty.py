"""A query that is unlike all that was learned from is told, and forecasts of it are drawn together."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import TOPICS, make_outcomes

from orchestrator import load_embedder
from orchestrator.predictors.cost import CostPredictor
from orchestrator.predictors.registry import build_predictor, predictor_from_state
from orchestrator.predictors.states import State
from orchestrator.text.novelty import TRUSTED_FROM, Novelty
from orchestrator.text.queries import Examples, read_queries
from orchestrator.text.splits import split_by_text

FOREIGN = [f"def f{i}(x): return [y ** {i} for y in range(x)]  # TODO" for i in range(40)]


@pytest.fixture(scope="module")
def embedder():
    return load_embedder("wordllama")


@pytest.fixture(scope="module")
def examples(embedder):
    outcomes = make_outcomes(600)
    rng = np.random.default_rng(1)
    cost = outcomes.cost_usd * rng.uniform(0.5, 2, outcomes.cost_usd.shape)
    cost[:, 0] = 1e-4  # costs the same whatever it is asked
    return Examples(read_queries(outcomes.texts, embedder), replace(outcomes, cost_usd=cost))


@pytest.fixture(scope="module")
def parts(examples):
    split = split_by_text(examples.outcomes.prompts, seed=0)
    return examples.take(split.train), examples.take(split.validation), examples.take(split.test)


@pytest.fixture(scope="module")
def stack(parts):
    return build_predictor("stack").fit(parts[0], parts[1], seed=0)


@pytest.mark.parametrize("n", [30, 300, 3000])
def test_of_queries_like_those_learned_from_one_in_twenty_is_touched(n):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, 32))

    def drawn(count):
        rows = centres[rng.integers(0, 20, count)] + 0.5 * rng.normal(size=(count, 32))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return type("Queries", (), {"embeddings": rows.astype(np.float32), "__len__": lambda _: count})()

    touched = [(Novelty.of(drawn(n)).trust(drawn(2000)) < 1).mean() for _ in range(10)]
    assert np.mean(touched) == pytest.approx(TRUSTED_FROM, abs=0.04)


def test_foreign_queries_are_told_and_one_alone_as_in_a_batch(parts, embedder):
    novelty, foreign = Novelty.of(parts[0].queries), read_queries(FOREIGN, embedder)
    trust = novelty.trust(foreign)
    assert ((trust > 0) & (trust < 0.5)).all()
    assert novelty.trust(parts[2].queries).mean() > 0.9
    alone = [novelty.trust(read_queries([text], embedder))[0] for text in FOREIGN]
    assert trust.tolist() == alone


def test_contrasts_of_foreign_queries_are_drawn_towards_none(stack, parts, embedder):
    foreign = read_queries(FOREIGN, embedder)
    trust = stack._novelty.trust(foreign)
    drawn = stack.predict(foreign)
    state = stack.state()
    arrays = {name: one for name, one in state.arrays.items() if name not in ("landmarks", "usual")}
    older = predictor_from_state(State(state.kind, state.config, arrays))  # saved before there was novelty
    whole = older.predict(foreign)
    mean = stack._mean_score

    def contrast(success):
        parts = success - mean
        return parts - parts.mean(axis=1, keepdims=True)

    assert contrast(drawn) == pytest.approx(trust[:, None] * contrast(whole), abs=2e-3)
    usual = parts[2].queries
    same = stack._novelty.trust(usual) == 1
    assert np.array_equal(stack.predict(usual)[same], older.predict(usual)[same])


def test_costs_of_foreign_queries_move_together_and_constant_ones_not_at_all(parts, embedder):
    cost = CostPredictor().fit(parts[0], parts[1])
    expected = cost.predict(read_queries(FOREIGN, embedder))
    assert (expected[:, 0] == cost._mean[0]).all()
    factor = expected[:, 1:] / cost._mean[1:]
    cost._novelty = None
    wider = cost.predict(read_queries(FOREIGN, embedder))[:, 1:] / cost._mean[1:]
    assert (np.log(factor).std(axis=1) <= np.log(wider).std(axis=1) + 1e-12).all()
    assert np.log(factor).mean(axis=1) == pytest.approx(np.log(wider).mean(axis=1))


@pytest.mark.parametrize("kind", ["stack", "knn+domain"])
def test_it_is_saved_to_the_bit(kind, parts, embedder):
    fitted = build_predictor(kind).fit(parts[0], parts[1], seed=0)
    cost = CostPredictor().fit(parts[0], parts[1])
    queries = read_queries([*FOREIGN, *TOPICS["algebra"]], embedder)
    assert np.array_equal(predictor_from_state(fitted.state()).predict(queries), fitted.predict(queries))
    assert np.array_equal(CostPredictor.from_state(cost.state()).predict(queries), cost.predict(queries))
