"""How much of an evaluation is done: by the time that its steps take, not by their number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.step_times import StepTimes

SECONDS = st.floats(0.01, 1e4)


@given(st.dictionaries(st.sampled_from("abcd"), SECONDS, min_size=1), st.integers(2, 6), SECONDS)
def test_after_the_first_split_the_share_is_that_of_time(takes_s, splits, read_s):
    """However unlike the steps are: a slow predictor beside a fast one."""
    now_s = [5.0]
    steps = [("read", 1.0), *[(kind, 1.0) for kind in takes_s] * splits]
    seconds = {**takes_s, "read": read_s}
    total_s = sum(seconds[kind] for kind, _ in steps)
    times = StepTimes(steps, clock=lambda: now_s[0])
    for place, (kind, _) in enumerate(steps):
        share = times.begin()
        if place > len(takes_s):
            assert share == pytest.approx((now_s[0] - 5.0) / total_s)
        assert 0 <= share < 1
        now_s[0] += seconds[kind]


def test_before_times_are_known_weights_count():
    now_s = [0.0]
    times = StepTimes([("read", 1.0), ("knn", 1.0), ("stack", 2.0)], clock=lambda: now_s[0])
    assert times.begin() == 0.0
    now_s[0] = 3.0
    assert times.begin() == pytest.approx(0.25)
    now_s[0] = 4.0
    assert times.begin() == pytest.approx(4 / 8)  # two steps of four took 4 s
