import itertools

import pytest
from fake_experts import BROKEN, BUSY, SLOW, TOO_LONG
from hypothesis import given
from hypothesis import strategies as st

from experts.catalogue.cooldown import Cooldown
from experts.upstream import CONSEQUENCES, Failure, FailureKind
from serve.request.breaker import (
    FAILURES_TO_REST,
    FIRST_REST_S,
    LONGEST_REST_S,
    LONGEST_RETRY_AFTER_S,
    Breaker,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def failed(breaker, failure, caller=None, times=1):
    for _ in range(times):
        breaker.record("a", failure, caller)


def test_rests_grow_and_a_success_clears_them():
    clock = Clock()
    breaker = Breaker(clock)
    rests = []
    for _ in range(12):
        failed(breaker, BROKEN)
        start = clock.now
        while breaker.resting(["a", "b"], None) == ("a",):
            clock.now += 0.5
        rests.append(clock.now - start)
    assert rests[:5] == [0, 0, FIRST_REST_S, 2 * FIRST_REST_S, 4 * FIRST_REST_S]
    assert max(rests) == LONGEST_REST_S
    breaker.record("a", None, None)
    failed(breaker, BROKEN)
    assert breaker.resting(["a"], None) == ()


def test_failures_of_requests_under_way_do_not_prolong_a_rest():
    clock = Clock()
    breaker = Breaker(clock)
    failed(breaker, BROKEN, times=20)
    clock.now = FIRST_REST_S
    assert breaker.resting(["a"], None) == ()


def test_an_answer_that_was_asked_for_before_a_rest_does_not_end_it():
    clock = Clock()
    breaker = Breaker(clock)
    clock.now = 10.0
    failed(breaker, Failure(FailureKind.CREDENTIALS, "no"))
    clock.now = 12.0
    breaker.record("a", None, None, asked_at=9.0)
    assert breaker.resting(["a"], None) == ("a",)
    breaker.record("a", None, None, asked_at=11.0)
    assert breaker.resting(["a"], None) == ()


@pytest.mark.parametrize("kind", FailureKind)
def test_each_kind_rests_an_expert_as_the_table_says(kind):
    clock = Clock()
    breaker, consequence = Breaker(clock), CONSEQUENCES[kind]
    failed(breaker, Failure(kind, "no"))
    assert bool(breaker.resting(["a"], None)) == (consequence.rest == "at_once")
    failed(breaker, Failure(kind, "no"), times=FAILURES_TO_REST)
    assert bool(breaker.resting(["a"], None)) == (consequence.rest != "never")
    clock.now = consequence.rest_s - 0.1
    if consequence.rest_s:
        assert breaker.resting(["a"], None) == ("a",)


@pytest.mark.parametrize("asked_s", [7.0, 500.0, 1e9, float("inf")])
def test_an_upstream_is_left_alone_for_as_long_as_it_asks(asked_s):
    clock = Clock()
    breaker = Breaker(clock)
    failed(breaker, Failure(FailureKind.BUSY, "slow down", retry_after_s=asked_s), caller="ann")
    clock.now = min(asked_s, LONGEST_RETRY_AFTER_S) - 0.1
    assert breaker.resting(["a", "b"], "bob") == ("a",)
    clock.now += 0.2
    assert breaker.resting(["a"], "bob") == ()


def test_what_was_a_callers_own_limit_says_nothing_of_the_expert():
    breaker = Breaker(Clock())
    own = Failure(FailureKind.TIMEOUT, "slow", in_time_of_caller=True)
    failed(breaker, own, "ann", times=20)
    failed(breaker, own, None, times=20)
    assert breaker.resting(["a"], "ann") == breaker.resting(["a"], None) == ()


ODD = st.sampled_from(
    [BROKEN, SLOW, TOO_LONG] + [Failure(k, "x") for k in (FailureKind.MALFORMED, FailureKind.EMPTY)]
)


@given(st.lists(ODD, max_size=60))
def test_one_callers_slow_or_broken_requests_never_rest_an_expert_for_another(failures):
    breaker = Breaker(Clock())
    for failure in failures:
        breaker.record("a", failure, "ann")
    assert breaker.resting(["a"], "bob") == ()
    mine = [failure for failure in failures if failure is not TOO_LONG]
    assert bool(breaker.resting(["a"], "ann")) == (len(mine) >= FAILURES_TO_REST)
    breaker.record("a", None, "bob")
    assert breaker.out_of_service(["a"]) == ()


def test_an_expert_that_fails_several_callers_rests_for_all():
    breaker = Breaker(Clock())
    for caller in ("ann", "bob", "cid"):
        assert breaker.resting(["a"], "dan") == ()
        failed(breaker, BROKEN, caller)
    assert breaker.resting(["a"], "dan") == ("a",)


def test_an_expert_that_is_broken_for_the_only_caller_is_told_to_be_out_of_service():
    breaker = Breaker(Clock())
    failed(breaker, SLOW, "ann", times=5)
    assert breaker.out_of_service(["a"]) == ()  # its requests may be long
    failed(breaker, BROKEN, "ann", times=3)
    assert breaker.out_of_service(["a", "b"]) == ("a",)


@given(st.lists(st.sampled_from([BROKEN, BUSY, SLOW]), min_size=3, max_size=10))
def test_callers_who_cannot_be_told_apart_are_one(failures):
    breaker = Breaker(Clock())
    for failure in failures:
        breaker.record("a", failure, None)
    assert breaker.resting(["a"], None) == ("a",)


def test_an_expert_that_goes_past_its_tokens_again_and_again_rests():
    breaker = Breaker(Clock())
    for count, overran in enumerate([True, True, False, True, True, True]):
        assert breaker.resting(["a"], None) == (), count
        breaker.record("a", None, None)
        breaker.record_overrun("a", overran=overran)
    assert breaker.resting(["a"], None) == ("a",)


def test_what_is_remembered_of_callers_is_bounded():
    breaker = Breaker(Clock())
    for number in itertools.islice(itertools.count(), 12_000):
        breaker.record("a", TOO_LONG, f"key-{number}")
        breaker.record("b", SLOW, f"key-{number}")
    assert len(breaker._for_one) <= 10_000
    assert len(breaker._for_all["b"].callers) < 10_000


@given(
    after=st.integers(1, 6),
    first_s=st.floats(0.01, 100),
    times=st.floats(1, 50),
    failures=st.integers(1, 40),
)
def test_an_expert_rests_as_its_own_entry_says_and_others_as_usual(after, first_s, times, failures):
    own = Cooldown(after_failures=after, first_s=first_s, longest_s=first_s * times)
    clock = Clock()
    breaker = Breaker(clock, {"a": own})
    for number in range(1, failures + 1):
        breaker.record("a", BROKEN, None)
        rest_s = breaker.rests_for_s("a")
        expected_s = min(first_s * 2.0 ** (number - after), first_s * times) if number >= after else 0.0
        assert rest_s == pytest.approx(expected_s, abs=1e-6)
        assert bool(breaker.resting(["a"], "ann")) == (number >= after)
        clock.now += rest_s
    assert breaker.resting(["a"], "ann") == ()
    for number in range(1, FAILURES_TO_REST + 1):
        breaker.record("b", BROKEN, None)
        assert bool(breaker.resting(["b"], None)) == (number >= FAILURES_TO_REST)
