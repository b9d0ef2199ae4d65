from dataclasses import replace

import numpy as np
import pytest
from synthetic import make_outcomes

from orchestrator import Orchestrator, load_embedder, train_router
from orchestrator.predictors.base import contrast_loss, contrasts, squared_loss
from orchestrator.predictors.difficulty import DifficultyPredictor
from orchestrator.predictors.knn import PRIOR_WEIGHT
from orchestrator.predictors.linear import solve_ridge
from orchestrator.predictors.registry import KINDS, build_predictor, offered_predictors, predictor_from_state
from orchestrator.predictors.stack import LEAD, StackPredictor
from orchestrator.predictors.states import State
from orchestrator.text.queries import Examples, read_queries
from orchestrator.text.splits import split_by_text


@pytest.fixture(scope="module")
def parts():
    outcomes = make_outcomes(500, missing=0.2)
    everything = Examples(read_queries(outcomes.texts, load_embedder("wordllama")), outcomes)
    split = split_by_text(outcomes.prompts, seed=0)
    return [everything.take(index) for index in (split.train, split.validation, split.test)]


@pytest.mark.parametrize("kind", offered_predictors())
def test_every_predictor_learns_and_is_saved_to_the_bit(kind, parts):
    train, validation, test = parts
    predictor = build_predictor(kind).fit(train, validation, seed=1)
    success = predictor.predict(test.queries)
    assert success.shape == test.outcomes.score.shape
    assert success.dtype == np.float32
    assert ((success >= 0) & (success <= 1)).all()
    constant = np.broadcast_to(np.nanmean(train.outcomes.score, axis=0), success.shape)
    assert squared_loss(success, test.outcomes.score) < 0.9 * squared_loss(constant, test.outcomes.score)
    rebuilt = predictor_from_state(predictor.state())
    assert rebuilt.experts == predictor.experts
    assert np.array_equal(rebuilt.predict(test.queries), success)
    alone = np.vstack([rebuilt.predict(test.queries.take(np.array([i]))) for i in range(20)])
    assert np.array_equal(alone, success[:20])


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.build])
def test_an_expert_that_was_never_asked_hurts_no_predictor(kind, parts):
    train, validation, test = parts
    for part in (train, validation):
        part.outcomes.score[:, 1] = np.nan
    success = build_predictor(kind).fit(train, validation).predict(test.queries)
    assert np.isfinite(success).all()


def test_contrasts_do_not_see_what_moves_every_expert_alike():
    rng = np.random.default_rng(0)
    success, score = rng.random((50, 3)), rng.random((50, 3))
    harder = success - rng.random((50, 1))
    assert contrast_loss(success, score) == pytest.approx(contrast_loss(harder, score))
    assert contrasts(success).sum(axis=1) == pytest.approx(0)
    score[0] = [0.5, np.nan, np.nan]
    assert np.isfinite(contrast_loss(success, score))


def test_one_penalty_and_many_give_the_same_ridge():
    rng = np.random.default_rng(0)
    features, targets = rng.standard_normal((60, 90)), rng.standard_normal((60, 4))
    targets[rng.random(targets.shape) < 0.3] = np.nan
    together = solve_ridge(features, targets, (0.1, 1.0))
    for weights, penalty in zip(together, (0.1, 1.0), strict=True):
        assert solve_ridge(features, targets, (penalty,))[0] == pytest.approx(weights, abs=1e-9)


def test_neighbours_saved_before_there_was_a_projection_are_compared_by_whole_embeddings():
    rng = np.random.default_rng(0)
    memory = rng.standard_normal((200, 256)).astype(np.float32)
    memory /= np.linalg.norm(memory, axis=1, keepdims=True)
    score = rng.integers(0, 2, (200, 3)).astype(np.float32)
    config = {"experts": ["a", "b", "c"], "k": 7, "part": None, "temperature": None, "metric": "cosine"}
    arrays = {"memory": memory, "score": score, "centre": np.zeros(256, np.float32)}
    texts = make_outcomes(20).texts
    queries = read_queries(texts, load_embedder("wordllama"))
    success = predictor_from_state(State("knn", config, arrays)).predict(queries)
    nearest = np.argsort(-(queries.embeddings @ memory.T), axis=1)[:, :7]
    expected = (score[nearest].sum(axis=1) + PRIOR_WEIGHT * score.mean(axis=0)) / (7 + PRIOR_WEIGHT)
    assert success == pytest.approx(expected, abs=1e-6)


def test_a_stack_is_saved_with_its_members(tmp_path):
    orchestrator = train_router(make_outcomes(300), embedder="wordllama", predictor="stack").orchestrator
    orchestrator.save(tmp_path)
    texts = make_outcomes(30, seed=5).texts
    assert Orchestrator.load(tmp_path).decide(texts) == orchestrator.decide(texts)


def test_the_best_expert_leads_where_leaving_it_has_not_paid():
    def choose(chance):
        outcomes = make_outcomes(600, seed=1)
        if chance is not None:  # the text tells nothing of who is right
            drawn = np.random.default_rng(0).random(outcomes.score.shape)
            outcomes = replace(outcomes, score=(drawn < chance).astype(np.float32))
        everything = Examples(read_queries(outcomes.texts, load_embedder("wordllama")), outcomes)
        split = split_by_text(outcomes.prompts, seed=0)
        stack = StackPredictor().fit(everything.take(split.train), everything.take(split.validation))
        chosen = stack.predict(everything.queries.take(split.test)).argmax(axis=1)
        return stack.state().arrays["lead"], np.bincount(chosen, minlength=4) / len(chosen)

    lead, share = choose(None)
    assert not lead.any()
    assert share.max() < 0.6
    lead, share = choose(np.array([0.5, 0.5, 0.5, 0.6]))
    assert lead.tolist() == pytest.approx([0, 0, 0, LEAD])
    assert share[3] > 0.9


def test_easy_questions_keep_their_contrasts():
    stack = StackPredictor()
    stack._mean_score = np.array([0.9, 0.95], np.float32)
    stack._weights, stack._level = np.ones(1, np.float32), np.array([1, 0.2], np.float32)
    stack._lead, stack.discount = np.zeros(2, np.float32), 0.0
    success = stack._combine(np.array([[[0.9, 0.99]]], np.float32))
    assert success.max() == 1
    assert success[0, 1] - success[0, 0] == pytest.approx(0.05 + 0.04, abs=1e-6)


def test_difficulty_tells_whom_hard_questions_hurt_more():
    rng = np.random.default_rng(0)
    outcomes = make_outcomes(900)
    hard = rng.random(len(outcomes)) < 0.5
    words = np.where(hard, "prove the conjecture", "name the colour")
    chance = np.where(hard[:, None], [0.1, 0.1, 0.2, 0.8], [0.8, 0.8, 0.8, 0.9])
    outcomes = replace(
        outcomes,
        texts=tuple(f"{text} {word}" for text, word in zip(outcomes.texts, words, strict=True)),
        score=(rng.random(chance.shape) < chance).astype(np.float32),
    )
    everything = Examples(read_queries(outcomes.texts, load_embedder("wordllama")), outcomes)
    split = split_by_text(outcomes.prompts, seed=0)
    train, validation, test = (everything.take(i) for i in (split.train, split.validation, split.test))
    difficulty = DifficultyPredictor().fit(train, validation)
    success = difficulty.predict(test.queries)
    gain = success[:, 3] - success[:, 0]
    assert gain[hard[split.test]].mean() > gain[~hard[split.test]].mean() + 0.3
    rebuilt = predictor_from_state(difficulty.state())
    assert np.array_equal(rebuilt.predict(test.queries), success)
    assert np.array_equal(rebuilt.predict(test.queries.take(np.array([3]))), success[3:4])
