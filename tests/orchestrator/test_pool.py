import numpy as np
import pytest
from synthetic import make_outcomes

from orchestrator import Orchestrator, log_version, set_champion, train_router
from orchestrator.evaluation.compare import compare_routers
from orchestrator.pool_changes import add_expert, choose_probes, retire_expert
from orchestrator.predictors.added_experts import _read_rest
from orchestrator.predictors.mean_prior import prior_of_price
from orchestrator.text.splits import frozen_split
from orchestrator.versions.mlflow_registry import champion_version, load_champion, rollback, versions
from orchestrator.versions.promotion import challenge_champion
from warehouse import InputError, NotReadyError, TooFewError

ALGEBRA = "Question: ring ideal field kernel polynomial root?"


@pytest.fixture(scope="module")
def outcomes():
    return make_outcomes(900)


@pytest.fixture(scope="module")
def full(outcomes):
    return train_router(outcomes, embedder="wordllama").orchestrator


def test_an_added_expert_is_placed_from_its_probes(outcomes, full, tmp_path):
    three = train_router(
        outcomes.only(["chemist", "historian", "generalist"]), embedder="wordllama"
    ).orchestrator
    probes = choose_probes(three, outcomes, 150)
    assert len(set(probes.tolist())) == 150
    assert not set(probes.tolist()) & set(frozen_split(outcomes.prompts).test.tolist())
    before = three.decide([ALGEBRA])
    four = add_expert(three, "algebraist", outcomes.take(probes))
    assert three.decide([ALGEBRA]) == before
    assert four.experts == ("chemist", "historian", "generalist", "algebraist")
    decision = four.decide([ALGEBRA], multiplier=0)[0]
    assert decision.success["algebraist"] > decision.success["chemist"] + 0.2
    assert decision.cost_usd["algebraist"] == pytest.approx(1e-4, rel=0.3)
    report = compare_routers({"four": four, "three": three, "full": full}, outcomes, replicates=50)
    gain = report.difference("four", "three", "aiq_log").value
    assert gain > 0.5 * report.difference("full", "three", "aiq_log").value > 0
    four.save(tmp_path)
    assert Orchestrator.load(tmp_path).decide([ALGEBRA]) == four.decide([ALGEBRA])


def test_what_outcomes_leave_unexplained_is_read_from_the_text_where_known_experts_differ():
    rng = np.random.default_rng(0)
    topic = rng.choice([-1.0, 1.0], 2000)  # the only thing of a question that tells the known ones apart
    known = 0.2 * topic[:, None] * np.array([1.0, -1.0, 0.5, -0.5]) + 0.1 * rng.standard_normal((2000, 1))
    noise, weight = 0.4 * rng.standard_normal(2000), np.ones(2000)
    offset, coefficients = _read_rest(known, 0.15 * topic + noise, weight)
    assert known @ coefficients + offset == pytest.approx(0.15 * topic, abs=0.05)
    few = slice(0, 40)  # too few to believe: drawn to nothing
    _, drawn = _read_rest(known[few] / 20, noise[few], weight[few])
    assert np.abs(known[few] / 20 @ drawn).max() < 0.02


def test_experts_that_do_not_differ_by_the_text_say_nothing_of_a_new_one():
    alike = np.zeros((50, 3))
    offset, coefficients = _read_rest(alike, np.linspace(-1, 1, 50), np.ones(50))
    assert offset == 0
    assert not coefficients.any()


def test_an_expert_is_expected_to_be_as_good_as_others_of_its_price():
    cost = np.array([1e-5, 1e-4, 1e-3, 1e-2, np.nan, 0.0])
    score = np.array([0.5, 0.6, 0.7, 0.8, 0.1, 0.1])  # a line through the four that have a price
    prior = prior_of_price(score, cost, 1e-1)
    assert prior.mean == pytest.approx(0.9)
    assert prior.variance == pytest.approx(0, abs=1e-12)
    scattered = prior_of_price(score + np.array([0.1, -0.1, -0.1, 0.1, 0, 0]), cost, 1e-3)
    assert scattered.update(0.9, 1e-6) == pytest.approx(0.9, abs=1e-3)  # many answers outweigh the price
    assert scattered.mean < scattered.update(0.9, scattered.variance) < 0.9
    assert prior_of_price(score[:3], cost[:3], 1e-3) is None  # too few for a line
    assert prior_of_price(score[:4], np.full(4, 1e-3), 1e-3) is None  # no line at all
    assert prior_of_price(score, cost, 0.0) is None


def test_retiring_is_immediate_and_leaves_the_others_alone(full):
    rest = retire_expert(full, "algebraist")
    assert rest.experts == ("chemist", "historian", "generalist")
    (before,), (after,) = full.decide([ALGEBRA]), rest.decide([ALGEBRA])
    assert "algebraist" not in (after.expert, *after.fallbacks)
    assert all(after.success[name] == before.success[name] for name in rest.experts)
    with pytest.raises(InputError, match="no expert is called"):
        retire_expert(rest, "algebraist")
    with pytest.raises(InputError, match="only expert"):
        retire_expert(retire_expert(retire_expert(rest, "chemist"), "historian"), "generalist")


def test_an_expert_cannot_be_added_twice_or_from_nothing(outcomes, full):
    with pytest.raises(InputError, match="already"):
        add_expert(full, "chemist", outcomes)
    with pytest.raises(TooFewError, match="too few"):
        add_expert(retire_expert(full, "chemist"), "chemist", outcomes.take(np.arange(5)))


def test_promotion_refuses_the_worse_promotes_the_better_and_rolls_back(outcomes, full, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    worse = train_router(outcomes.take(np.arange(60)), embedder="wordllama", predictor="cluster").orchestrator
    first = log_version(worse, tracking_uri=uri)
    assert challenge_champion(uri, first, outcomes).verdict == "is the first champion"
    better = log_version(full, tracking_uri=uri)
    won = challenge_champion(uri, better, outcomes)
    assert won.promoted
    assert won.verdict.startswith(f"beats champion {first}: +")
    assert won.test.count("[") == 1
    assert "won against version 1" in versions(uri)[0].note
    again = log_version(worse, tracking_uri=uri)
    refused = challenge_champion(uri, again, outcomes)
    assert not refused.promoted
    assert refused.verdict.startswith(f"does not beat champion {better}: -")
    assert champion_version(uri) == better
    few = outcomes.take(np.arange(30))
    untested = challenge_champion(uri, again, few)
    assert (untested.promoted, untested.test, champion_version(uri)) == (False, None, better)
    assert untested.verdict.startswith("could not be tested: only ")
    with pytest.raises(NotReadyError, match="no outcomes are at hand"):  # lacking is not too few: it is told
        challenge_champion(uri, again, outcomes.only(["chemist"]), force=True)
    forced = challenge_champion(uri, again, outcomes, force=True, reason="drill")
    assert (forced.promoted, forced.forced) == (True, True)
    assert versions(uri)[0].note.startswith("forced against version")
    assert versions(uri)[0].note.endswith("; drill")
    # a challenge that was cut short after its promotion
    assert challenge_champion(uri, again, few, began_with=better).promoted
    assert not challenge_champion(uri, again, few, began_with=again).promoted
    assert rollback(uri) == (better, again)
    assert load_champion(uri)[0].decide([ALGEBRA]) == full.decide([ALGEBRA])
    set_champion(uri, better)
