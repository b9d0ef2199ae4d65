from __future__ import annotations

from pathlib import Path

import pytest

from experts.backends.spend_cap import Grant
from pipelines.answering.round_cap import RoundCap, unrecorded_usd
from pipelines.answering.round_money import RoundMoney
from warehouse import Warehouse
from warehouse.home import Home


def test_what_leaves_no_row_is_kept_as_it_is_booked(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    assert unrecorded_usd(store, "r/1") == 0.0
    cap = RoundCap(1.0, store.url, "r/1")
    assert cap.reserve(0.3, "a") is Grant.GRANTED
    cap.settle(0.3, 0.3, "a")  # a timeout, at its worst case
    assert 0.3 <= unrecorded_usd(store, "r/1") <= 0.45  # there even if all is killed now
    assert cap.reserve(0.2, "a") is Grant.GRANTED
    cap.settle(0.2, 0.1, "a")
    cap.count_stored(0.1)
    assert cap.reserve(0.25, "b") is Grant.GRANTED
    cap.forfeit("b")
    assert cap.reserve(0.05, "c") is Grant.GRANTED
    cap.close()  # with c still out
    assert unrecorded_usd(store, "r/1") == pytest.approx(0.6)
    assert unrecorded_usd(store, "r") == 0.0
    other = RoundCap(1.0, store.url, "r/1")
    other.reserve(0.3, "a")
    other.settle(0.3, 0.3, "a")
    other.close()
    assert unrecorded_usd(store, "r/1") == pytest.approx(0.9)  # of all the caps of the round


def test_where_all_has_rows_nothing_is_kept(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    cap = RoundCap(1.0, store.url, "r")
    for _ in range(9):
        cap.reserve(0.1, "a")
        cap.settle(0.1, 0.1, "a")
        assert unrecorded_usd(store, "r") >= 0.1
        cap.count_stored(0.1)
        assert unrecorded_usd(store, "r") == 0.0  # not counted twice if all is killed now
    cap.close()
    assert unrecorded_usd(store, "r") == 0.0
    assert not list(tmp_path.rglob("*.json"))


def test_a_round_has_cost_what_left_no_row_too(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    money = RoundMoney(home.warehouse(), "r", 1.0)
    cap = RoundCap(1.0, home.warehouse().url, "r")
    cap.reserve(0.3, "a")
    cap.settle(0.3, 0.3, "a")
    cap.close()
    assert money.spent_usd() == pytest.approx(0.3)
    assert money.left_usd() == pytest.approx(0.7)
    assert RoundMoney(home.warehouse(), "other", 1.0).left_usd() == 1.0
    assert RoundMoney(home.warehouse(), "r").left_usd() is None
