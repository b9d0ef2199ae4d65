from __future__ import annotations

import random
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts import SpendCap, load_catalogue
from experts.backends.recorded_backend import RecordedBackend
from experts.backends.spend_cap import ReserveOutcome, reserve_batch, reserve_patiently
from warehouse import InputError

MONEY = st.floats(0, 10, allow_nan=False)


@given(MONEY, st.lists(st.tuples(MONEY, st.floats(0, 1), st.booleans()), max_size=40))
def test_spent_and_reserved_never_pass_the_cap(
    cap_usd: float, steps: list[tuple[float, float, bool]]
) -> None:
    cap = SpendCap(cap_usd)
    out: list[tuple[float, float]] = []
    spent = 0.0
    for usd, share, settle_now in steps:
        grant = cap.reserve(usd)
        fits = spent + sum(r for r, _ in out) + usd <= cap_usd
        assert (grant is ReserveOutcome.GRANTED) or not fits
        if grant is ReserveOutcome.GRANTED:
            out.append((usd, usd * share))
        elif grant is ReserveOutcome.REFUSED:
            assert usd > cap_usd - spent - 1e-9
        if settle_now and out:
            reserved, cost = out.pop()
            cap.settle(reserved, cost)
            spent += cost
        assert spent + sum(r for r, _ in out) <= cap_usd * (1 + 1e-9)
    assert cap.spent_usd() == pytest.approx(spent)


@pytest.mark.parametrize("seed", range(20))
def test_nobody_waits_for_what_came_back(seed: int) -> None:
    rng, cap = random.Random(seed), SpendCap(4.0)
    out: list[float] = []
    for _ in range(400):  # sixteen at a time, settled in any order, as an API's answers come
        usd = 0.25 * rng.random()
        if len(out) == 16 or cap.reserve(usd) is not ReserveOutcome.GRANTED:
            cap.settle(out.pop(rng.randrange(len(out))), 0.0)
        else:
            out.append(usd)
    for usd in out:
        cap.settle(usd, 0.0)
    assert cap.reserve(5.0) is ReserveOutcome.REFUSED  # nothing is out: not WAIT


def test_a_batch_gives_all_of_its_reservation_back() -> None:
    cap = SpendCap(1.0)
    count, usd = reserve_batch(cap, [0.1, 0.2, 0.3, 0.35, 0.6])
    assert count == 4
    cap.settle(usd, 0.7)
    assert cap.reserve(0.31) is ReserveOutcome.REFUSED


def test_many_threads_share_a_cap() -> None:
    cap, granted = SpendCap(1.0), []

    def spend(seed: int) -> None:
        rng = random.Random(seed)
        while reserve_patiently(cap, 0.01, poll_s=0.0005):
            cost = 0.01 * rng.random()
            granted.append(cost)
            cap.settle(0.01, cost)

    threads = [threading.Thread(target=spend, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert 1.0 - 0.01 < sum(granted) <= 1.0
    assert cap.spent_usd() == pytest.approx(sum(granted))


def test_what_a_dead_holder_had_out_is_spent() -> None:
    cap = SpendCap(1.0)
    assert cap.reserve(0.4, holder="a/1") is ReserveOutcome.GRANTED
    assert cap.reserve(0.4, holder="b/1") is ReserveOutcome.GRANTED
    assert cap.reserve(0.4, holder="b/1") is ReserveOutcome.WAIT
    cap.forfeit("a/")
    assert cap.spent_usd() == pytest.approx(0.4)
    cap.settle(0.4, 0.1, holder="b/1")
    assert cap.reserve(0.5, holder="b/1") is ReserveOutcome.GRANTED
    cap.settle(0.5, 0.5, holder="b/1")
    assert cap.reserve(0.1) is ReserveOutcome.REFUSED


def test_waiting_ends_when_money_comes_back() -> None:
    cap = SpendCap(1.0)
    cap.reserve(0.8)
    threading.Timer(0.1, cap.settle, (0.8, 0.1)).start()
    began = time.monotonic()
    assert reserve_patiently(cap, 0.5)
    assert 0.05 < time.monotonic() - began < 5


def test_a_batch_that_does_not_fit_is_cut() -> None:
    cap = SpendCap(1.0)
    count, reserved = reserve_batch(cap, [0.3] * 5)
    assert (count, reserved) == (3, pytest.approx(0.9))
    assert reserve_batch(SpendCap(1.0), [0.3] * 3) == (3, pytest.approx(0.9))
    assert reserve_batch(SpendCap(1.0), []) == (0, 0)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_bad_budget_is_refused(bad: float) -> None:
    with pytest.raises(InputError, match="budget"):
        SpendCap(bad)


def test_recorded_answers_are_charged_at_the_catalogues_price(questions_of) -> None:
    import pyarrow as pa

    from warehouse import ANSWERS

    questions = questions_of([{"prompt": f"{i}?", "answer": "x"} for i in range(6)])
    ids = questions["question_id"].to_pylist()
    recorded = [
        {"question_id": i, "expert": "smollm2-135m", "expert_version": "1", "prompt_tokens": 100,
         "completion_tokens": 0} for i in ids
    ]  # fmt: skip
    spec = load_catalogue().get("smollm2-135m")
    backend = RecordedBackend(spec, answers=pa.Table.from_pylist(recorded, schema=ANSWERS))
    cost = spec.price.cost_usd(100, 0)
    cap = SpendCap(4.5 * cost)
    raw = backend.answer(questions, purse=cap)
    assert raw["error"].null_count == 4
    assert cap.spent_usd() == pytest.approx(4 * cost)
