"""The policy over asking: its beliefs, its lookahead and its promises, against plain enumeration."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.asking.beliefs import EASE, WEIGHT, AnswerModel, Evidence
from orchestrator.asking.decide import STOP, begin_plans, final_answers, next_actions
from orchestrator.asking.first_ask import FirstCandidates, gains_after_first
from orchestrator.asking.habits import Habits
from orchestrator.asking.lengths import AnswerLengths
from orchestrator.asking.lookahead import Candidates, gains_of_asking
from orchestrator.asking.plans import Limits
from orchestrator.asking.policy import Ask, AskingPolicy, Stop
from orchestrator.asking.readings import INCOMPARABLE, NOT_ASKED, UNREADABLE, Reading, Readings
from orchestrator.asking.replay import replay
from orchestrator.predictors.base import Prediction
from orchestrator.predictors.states import read_states, write_states
from orchestrator.selection.selector import select_at_multiplier
from orchestrator.selection.value import net_value
from warehouse import InputError

SEEDS = st.integers(0, 2**32 - 1)


def draw_habits(rng: np.random.Generator, m: int, *, comparable: float = 0.8) -> Habits:
    return Habits(
        experts=tuple(f"e{i}" for i in range(m)),
        comparable=rng.random(m) < comparable,
        unreadable=rng.uniform(0, 0.2, m),
        model=AnswerModel(rng.uniform(0.3, 4, m), rng.uniform(0.05, 0.9, m), float(rng.uniform(0, 0.1))),
        trust=rng.uniform(0.2, 1.2, 3),
        lengths=AnswerLengths(
            rng.uniform(2, 6, m), rng.uniform(0.3, 2, m), rng.uniform(-1.5, 0.7, (m, 3)), rng.uniform(0.2, 1)
        ),
        foresight=float(rng.uniform(0.2, 1)),
    )


def draw_forecast(rng: np.random.Generator, habits: Habits, n: int) -> Prediction:
    shape = (n, len(habits.experts))
    success = (rng.random(shape) * (1 - habits.unreadable)).astype(np.float32)
    return Prediction(habits.experts, success, rng.uniform(1e-4, 3e-3, shape))


def draw_readings(rng: np.random.Generator, habits: Habits, n: int, options: int) -> Readings:
    shape = (n, len(habits.experts))
    classes = rng.integers(0, options or 6, shape)
    classes[rng.random(shape) < 0.15] = UNREADABLE
    classes[:, ~habits.comparable] = np.where(classes[:, ~habits.comparable] < 0, UNREADABLE, INCOMPARABLE)
    tokens = rng.integers(0, 3_000, shape).astype(np.float32)
    tokens[rng.random(shape) < 0.1] = np.nan
    return Readings(classes.astype(np.int16), np.full(n, options), tokens)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(2, 9), st.sampled_from([0, 2, 4, 10]))
def test_one_ask_is_the_router(seed: int, m: int, options: int) -> None:
    rng = np.random.default_rng(seed)
    habits = draw_habits(rng, m)
    forecast = draw_forecast(rng, habits, 30)
    multiplier = float(rng.choice([0.0, 10.0, 300.0, np.inf]))
    plans = begin_plans(
        habits, forecast.success, forecast.cost_usd, multiplier, options=np.full(30, options),
        limits=Limits(max_asks=1),
    )  # fmt: skip
    chosen = next_actions(habits, plans).ask
    assert np.array_equal(chosen, select_at_multiplier(forecast.success, forecast.cost_usd, multiplier))
    own = np.where(habits.comparable[chosen], 0, INCOMPARABLE)
    after = plans.observe(chosen, own, np.ones(30), np.ones(30))
    answered, probability = final_answers(habits, after)
    assert np.array_equal(answered, chosen)
    rows = np.arange(30)
    known = (forecast.success / (1 - habits.unreadable))[rows, chosen]
    assert probability == pytest.approx(np.clip(known, 1e-3, 1 - 1e-3), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(2, 100), st.sampled_from([0, 3, 10]), st.sampled_from([0.0, 0.1, 0.5]))
def test_many_answers_are_weighed_to_the_last_digit(
    seed: int, m: int, options: int, dissenting: float
) -> None:
    """However many agree, what the few others weigh is not lost: exact fractions give the same."""
    rng = np.random.default_rng(seed)
    model = AnswerModel(rng.uniform(0.2, 5, m), rng.uniform(0.02, 0.98, m), float(rng.uniform(0, 0.95)))
    beliefs = model.beliefs(rng.uniform(0.2, 0.98, (1, m)), np.array([options]))
    said = (rng.random(m) < dissenting).astype(int)
    count = int(said.max()) + 1
    posterior = Evidence.of(beliefs, said[None], count).posterior()[0]
    free = int(beliefs.classes[0]) - count
    names = [*range(count), *(-1 - x for x in range(free))]  # of all answers: those given, and the others
    right, wrong = (
        [[Fraction(x) for x in row] for row in part[0]] for part in (beliefs.right, beliefs.wrong)
    )
    mass = {
        name: sum(
            Fraction(weight) * prod(right[e][z] if said[e] == name else wrong[e][z] for e in range(m))
            for z, weight in enumerate(WEIGHT)
        )
        for name in {*names[: count + 1]}
    }
    pull = {
        name: prod(Fraction(beliefs.pull[0, e]) for e in range(m) if said[e] == name)
        for name in {*names[: count + 1]}
    }
    of = {name: name if name >= 0 else -1 for name in names}
    e = Fraction(beliefs.inverted[0])
    all_mass, all_pull = (sum(part[of[name]] for name in names) for part in (mass, pull))
    own = {
        name: (1 - e) * mass[of[name]] * (all_pull - pull[of[name]])
        + e * pull[of[name]] * (all_mass - mass[of[name]])
        for name in names
    }
    total = sum(own.values())
    exact = [float(own[k] / total) for k in range(count)]
    assert posterior[:count] == pytest.approx(exact, abs=1e-9)
    assert ((posterior >= 0) & (posterior <= 1)).all()


def enumerate_posterior(model: AnswerModel, success: np.ndarray, said: list[int], options: int) -> np.ndarray:
    """Probability of each option being right, by adding up all that may be the case."""
    beliefs = model.beliefs(success[None], np.array([options]))
    right, inverted = beliefs.right[0], float(beliefs.inverted[0])
    elsewhere = beliefs.wrong[0] / (1 - right)  # of one wrong answer that is not the popular one
    popular = beliefs.pull[0][:, None] * elsewhere
    total = np.zeros(options)
    for key, attractive, swapped in product(range(options), range(options), (False, True)):
        if key == attractive:
            continue
        known, drawn = (attractive, key) if swapped else (key, attractive)
        chance = np.full(len(EASE), inverted if swapped else 1 - inverted) * WEIGHT
        for e, letter in enumerate(said):
            wrong = (1 - right[e]) * (popular[e] if letter == drawn else elsewhere[e])
            chance = chance * (right[e] if letter == known else wrong)
        total[key] += chance.sum()
    return total / total.sum()


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(1, 4), st.integers(3, 6))
def test_beliefs_are_those_of_the_model_added_up(seed: int, m: int, options: int) -> None:
    rng = np.random.default_rng(seed)
    model = draw_habits(rng, m).model
    success = rng.uniform(0.02, 0.98, m)
    said = rng.integers(0, options, m).tolist()
    expected = enumerate_posterior(model, success, said, options)
    names = list(dict.fromkeys(said))
    evidence = Evidence.of(
        model.beliefs(success[None], np.array([options])),
        np.array([[names.index(x) for x in said]]),
        len(names),
    )
    found = evidence.posterior()[0]
    assert found.sum() == pytest.approx(1)
    assert found[:-1] == pytest.approx(expected[names], abs=1e-9)


@settings(deadline=None, max_examples=15)
@given(SEEDS, st.integers(3, 5))
def test_the_lookahead_is_exact(seed: int, options: int) -> None:
    """Four experts, the first has answered: what a second and a third are worth, letter by letter."""
    rng = np.random.default_rng(seed)
    model = draw_habits(rng, 4).model
    success, price = rng.uniform(0.1, 0.9, 4), rng.uniform(0, 0.05, 4)
    beliefs = model.beliefs(success[None], np.array([options]))
    evidence = Evidence.of(beliefs, np.array([[0, -1, -1, -1]]), 1)
    other = ~np.eye(4, dtype=bool)[None]
    open_ = np.array([[False, True, True, True]])
    found = gains_of_asking(
        evidence,
        Candidates(
            beliefs, price[None], np.zeros((1, 4)), np.ones((1, 4), bool), open_,
            other & open_[:, None] & open_[:, :, None],
        ),
        np.ones((2, 1)),
        steps=2,
    )  # fmt: skip

    def joint(said: dict[int, int]) -> np.ndarray:
        """Likelihood of these letters together with each option being right."""
        right, swap = beliefs.right[0], float(beliefs.inverted[0])
        total = np.zeros(options)
        for key, attractive in product(range(options), range(options)):
            if key == attractive:
                continue
            for share, known, drawn in ((1 - swap, key, attractive), (swap, attractive, key)):
                chance = share * WEIGHT
                for e, letter in said.items():
                    pull = beliefs.pull[0, e] if letter == drawn else 1.0
                    chance = chance * (right[e] if letter == known else pull * beliefs.wrong[0, e])
                total[key] += chance.sum()
        return total / (options * (options - 1))

    def value(said: dict[int, int], asks: int) -> float:
        """Best expected success less price, times the likelihood of ``said``."""
        stop = joint(said)[list(said.values())].max()  # what nobody gave cannot be given back
        if not asks:
            return stop
        return max(stop, *(ask(said, e, asks) for e in range(1, 4) if e not in said))

    def ask(said: dict[int, int], e: int, asks: int) -> float:
        come = sum(value(said | {e: letter}, asks - 1) for letter in range(options))
        return come - price[e] * joint(said).sum()

    first = {0: 0}
    base = joint(first)
    for e in range(1, 4):
        expected = (ask(first, e, 2) - base[0]) / base.sum()
        assert found.net[0, e] == pytest.approx(expected, abs=1e-9)
    assert found.net[0, 0] == -np.inf


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(2, 8), st.sampled_from([0, 3, 10]), st.integers(1, 2))
def test_three_answers_in_one_table_are_worth_what_two_are_after_each_first(
    seed: int, k: int, options: int, steps: int
) -> None:
    rng = np.random.default_rng(seed)
    n = 3
    habits = draw_habits(rng, k)
    beliefs = habits.model.beliefs(rng.uniform(0.05, 0.95, (n, k)), np.full(n, options))
    price, trust = rng.uniform(0, 0.04, (n, k)), rng.uniform(0.3, 1.2, (2, n))
    unreadable = np.tile(habits.unreadable, (n, 1))
    comparable = np.tile(habits.comparable, (n, 1))
    second = (rng.random((n, k, k)) < 0.8) & ~np.eye(k, dtype=bool)
    third = rng.random((n, k, k, k)) < 0.8
    found = gains_after_first(
        FirstCandidates(beliefs, price, unreadable, comparable, second, third), trust, steps=steps
    )
    for first in range(k):
        given_first = np.full((n, k), -1)
        given_first[:, first] = 0
        other = ~np.eye(k, dtype=bool)
        other[:, first] = False
        after = Candidates(beliefs, price, unreadable, comparable, second[:, first], third[:, first] & other)
        net = gains_of_asking(Evidence.of(beliefs, given_first, 1), after, trust, steps=steps).net
        expected = np.where(comparable[:, first], np.maximum(net.max(axis=1), 0), 0)
        assert found[:, first] == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(2, 10), st.sampled_from([0, 4, 10]), st.integers(1, 6))
def test_a_plan_keeps_its_limits_and_never_ends_unreadable(
    seed: int, m: int, options: int, most: int
) -> None:
    rng = np.random.default_rng(seed)
    habits = draw_habits(rng, m, comparable=rng.choice([0.0, 0.7, 1.0]))
    forecast = draw_forecast(rng, habits, 1)
    success, cost = forecast.success[0], forecast.cost_usd[0]
    worst = cost * rng.uniform(1, 2, m)
    limits = Limits(most, float(rng.choice([worst.min() * 1.01, worst.mean() * 2, np.inf])), worst)
    allowed = rng.random(m) < 0.8
    policy = AskingPolicy(habits)
    state = policy.plan(
        success, cost, float(rng.choice([0.0, 20.0, 500.0])), allowed=allowed, options=options, limits=limits
    )
    asked: dict[str, Reading] = {}
    promised = policy.worst_case_usd(state)
    while isinstance(action := policy.next_action(state), Ask):
        assert action.expert not in asked
        column = habits.experts.index(action.expert)
        assert allowed[column]
        reading = Reading(None, False) if rng.random() < 0.4 else Reading(str(rng.integers(4)))
        asked[action.expert] = reading
        state = policy.observe(state, action.expert, reading, worst[column] * rng.uniform(0.3, 1))
        assert state.asks == len(asked) <= most
        assert state.paid_usd <= policy.worst_case_usd(state) <= promised * (1 + 1e-12)
        promised = policy.worst_case_usd(state)
        assert state.paid_usd <= limits.ceiling_usd
    assert isinstance(action, Stop)
    if any(reading.readable for reading in asked.values()):
        assert asked[action.expert].readable
        assert action.expert in action.agreed
    elif state.plans.open.any():
        pytest.fail("it stopped with nothing of use while it could ask")
    if asked:
        with pytest.raises(InputError, match="before"):
            policy.observe(state, next(iter(asked)), Reading("0"), 0.0)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from([0.0, 20.0, 300.0]))
def test_it_asks_on_where_that_is_worth_more_than_stopping_and_only_there(
    seed: int, multiplier: float
) -> None:
    rng = np.random.default_rng(seed)
    n, m = 40, 6
    habits = draw_habits(rng, m, comparable=1.0)
    forecast = draw_forecast(rng, habits, n)
    plans = begin_plans(
        habits, forecast.success, forecast.cost_usd, multiplier, options=np.full(n, 4)
    )  # fmt: skip
    first = next_actions(habits, plans).ask
    plain = net_value(forecast.success, forecast.cost_usd, multiplier)
    # whom it asks first is the router's choice, or one after whom asking on is worth the difference
    gain = next_actions(habits, plans).gain
    own = plain[np.arange(n), first] + habits.foresight * gain
    assert (own >= plain.max(axis=1) - 1e-12).all()
    plans = plans.observe(first, np.zeros(n, int), np.ones(n), np.ones(n))
    open_ = plans.open
    net = gains_of_asking(
        Evidence.of(plans.beliefs, plans.given, 1),
        Candidates(
            plans.beliefs, multiplier * forecast.cost_usd, np.tile(habits.unreadable, (n, 1)),
            np.ones((n, m), bool), open_,
            open_[:, None] & open_[:, :, None] & ~np.eye(m, dtype=bool),
        ),
        np.tile(habits.trust[:2, None], (1, n)),
        steps=2,
    ).net  # fmt: skip
    chosen = next_actions(habits, plans).ask
    goes_on = chosen != STOP
    assert np.array_equal(goes_on, net.max(axis=1) > 0)
    assert (net[goes_on, chosen[goes_on]] == net.max(axis=1)[goes_on]).all()


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.integers(2, 9), st.sampled_from([0, 4, 10]), st.booleans())
def test_a_replay_does_what_the_endpoint_would_to_the_cent(
    seed: int, m: int, options: int, all_have_keys: bool
) -> None:
    rng = np.random.default_rng(seed)
    habits = draw_habits(rng, m)
    n = 12
    forecast = draw_forecast(rng, habits, n)
    # an expert whose right answers differ from each other has keys as well; they are not compared
    read = replace(habits, comparable=np.ones(m, bool)) if all_have_keys else habits
    readings = draw_readings(rng, read, n, options)
    paid = rng.uniform(1e-4, 3e-3, (n, m))
    multiplier = float(rng.choice([0.0, 30.0, 400.0]))
    replayed = replay(habits, forecast, paid, readings, [multiplier])[0]
    assert replayed.paid_usd == pytest.approx(np.where(replayed.asked, paid, 0).sum(axis=1), rel=1e-12)
    policy = AskingPolicy(habits)
    for row in range(n):
        state = policy.plan(forecast.success[row], forecast.cost_usd[row], multiplier, options=options)
        while isinstance(action := policy.next_action(state), Ask):
            column = habits.experts.index(action.expert)
            own = int(readings.classes[row, column])
            tokens = None if np.isnan(long := readings.tokens[row, column]) else int(long)
            reading = Reading(str(own) if own >= 0 else None, own != UNREADABLE, tokens)
            state = policy.observe(state, action.expert, reading, paid[row, column])
        assert isinstance(action, Stop)
        assert habits.experts[replayed.answered[row]] == action.expert
        assert replayed.paid_usd[row] == pytest.approx(state.paid_usd, rel=1e-12)
        assert action.success == pytest.approx(replayed.probability[row], abs=1e-12)
        assert np.array_equal(replayed.asked[row], state.plans.given[0] != NOT_ASKED)


@given(seed=SEEDS, m=st.integers(2, 6), multiplier=st.sampled_from([0.0, 1.0, 30.0]))
@settings(max_examples=40, deadline=None)
def test_two_at_once_come_to_the_same_one_answer_sooner(seed: int, m: int, multiplier: float) -> None:
    rng = np.random.default_rng(seed)
    habits, n = draw_habits(rng, m, comparable=1.0), 20
    forecast = draw_forecast(rng, habits, n)
    readings = draw_readings(rng, habits, n, 4)
    took_s = rng.uniform(0.1, 2.0, (n, m))
    in_turn, at_once = (
        replay(
            habits, forecast, forecast.cost_usd, readings, [multiplier], side_by_side=both, latency_s=took_s
        )[0]
        for both in (False, True)
    )
    first = readings.classes[np.arange(n), in_turn.first]
    read = first >= 0  # nothing that the first one says changes who is asked second, but that it can be read
    assert np.array_equal(in_turn.asked[read], at_once.asked[read])
    assert np.array_equal(in_turn.answered[read], at_once.answered[read])
    assert in_turn.probability[read] == pytest.approx(at_once.probability[read])
    asked = in_turn.asked.sum(axis=1)
    assert np.array_equal(in_turn.waits, asked)
    assert np.array_equal(at_once.waits[read], np.where(asked > 1, asked - 1, 1)[read])
    assert (at_once.latency_s[read] <= in_turn.latency_s[read] + 1e-12).all()
    assert in_turn.latency_s == pytest.approx((took_s * in_turn.asked).sum(axis=1))
    assert (at_once.waits >= 1).all()


def test_where_nothing_can_be_compared_it_is_the_router_and_the_next_one() -> None:
    rng = np.random.default_rng(0)
    habits = Habits.unknown(("a", "b", "c"))
    forecast = draw_forecast(rng, habits, 200)
    classes = np.where(rng.random((200, 3)) < 0.2, UNREADABLE, INCOMPARABLE).astype(np.int16)
    readings = Readings(classes, np.zeros(200, int))
    replayed = replay(habits, forecast, forecast.cost_usd, readings, [100.0])[0]
    value = net_value(forecast.success, forecast.cost_usd, 100.0)
    for row, order in enumerate(np.argsort(-value, axis=1)):
        usable = [e for e in order if classes[row, e] != UNREADABLE]
        if usable:
            assert replayed.answered[row] == usable[0]
            assert replayed.asked[row].sum() == list(order).index(usable[0]) + 1


def test_saved_habits_are_the_same_to_the_bit(tmp_path) -> None:
    habits = draw_habits(np.random.default_rng(1), 5)
    write_states(tmp_path, {"asking": habits.state()})
    loaded = Habits.from_state(read_states(tmp_path)["asking"])
    assert loaded.experts == habits.experts
    assert loaded.foresight == habits.foresight
    for name in ("comparable", "unreadable", "trust"):
        assert np.array_equal(getattr(loaded, name), getattr(habits, name))
    for name in ("slopes", "popular", "inverted"):
        assert np.array_equal(getattr(loaded.model, name), getattr(habits.model, name))


def test_keys_are_compared_within_a_question_and_what_is_missing_is_told_apart() -> None:
    none = [None] * 4  # such as a question that is judged, not compared
    keys = np.array([["A", "B", "A", None], ["B", None, "A", None], ["C", "C", "C", None], none], object)
    answered = np.ones((4, 4), bool)
    answered[2, 0] = False
    readings = Readings.from_keys(keys, answered, np.array([0.25, 0.1, 0.0, 0.0]))
    assert readings.classes.tolist() == [
        [0, 1, 0, INCOMPARABLE],
        [0, UNREADABLE, 1, INCOMPARABLE],
        [NOT_ASKED, 0, 0, INCOMPARABLE],
        [INCOMPARABLE] * 4,
    ]
    assert readings.options.tolist() == [4, 10, 0, 0]


def test_nonsense_is_refused() -> None:
    policy = AskingPolicy(Habits.unknown(("a", "b")))
    with pytest.raises(InputError, match="multiplier"):
        policy.plan(np.array([0.5, 0.6]), np.array([1e-3, 1e-3]), -1.0)
    with pytest.raises(InputError, match="asks"):
        policy.plan(np.array([0.5, 0.6]), np.array([1e-3, 1e-3]), 0.0, limits=Limits(0))
    with pytest.raises(InputError, match="2 experts"):
        policy.plan(np.array([0.5]), np.array([1e-3]), 0.0)
    state = policy.plan(np.array([0.5, 0.6]), np.array([1e-3, 1e-3]), 0.0)
    with pytest.raises(InputError, match="no expert"):
        policy.observe(state, "c", Reading("A"), 0.0)
