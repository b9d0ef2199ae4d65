from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from experts import ExpertSpec, Price, load_catalogue
from warehouse import InputError

TIER = {"above_prompt_tokens": 9, "usd_per_mtok_in": 1}
money = st.floats(0, 1e3)
tokens = st.integers(0, 10**7)


@given(money, money, tokens, tokens)
def test_cost_is_linear_and_arrays_agree_with_floats(usd_in: float, usd_out: float, n: int, m: int) -> None:
    price = Price(usd_per_mtok_in=usd_in, usd_per_mtok_out=usd_out)
    one = price.cost_usd(float(n), float(m))
    assert one == pytest.approx((n * usd_in + m * usd_out) / 1e6)
    many = price.cost_usd(np.array([n, 2.0 * n, np.nan]), np.array([m, 2.0 * m, 0.0]))
    np.testing.assert_allclose(many, [one, 2 * one, np.nan], rtol=1e-9, atol=1e-300)


@given(money, st.floats(1, 1e6), st.floats(1, 1e6))
def test_an_hour_of_tokens_costs_an_hour(usd: float, per_s_in: float, per_s_out: float) -> None:
    price = Price(usd_per_hour=usd, tokens_per_s_in=per_s_in, tokens_per_s_out=per_s_out)
    assert price.cost_usd(per_s_in * 3600, 0.0) == pytest.approx(usd)
    assert price.cost_usd(0.0, per_s_out * 3600) == pytest.approx(usd)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"usd_per_mtok_in": 1},
        {"usd_per_hour": 1},
        {"usd_per_hour": 1, "tokens_per_s_in": 5},
        {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1, "usd_per_hour": 1},
        {"usd_per_mtok_in": -1, "usd_per_mtok_out": 1},
        {"usd_per_mtok_in": float("nan"), "usd_per_mtok_out": 1},
        {"usd_per_mtok_in": float("inf"), "usd_per_mtok_out": 1},
        {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1, "currency": "EUR"},
        {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1, "usd_per_mtok_cached_in": 2},
        {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1, "batch_factor": 1.5},
        {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1, "min_usd_per_call": -1},
        {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1, "tiers": [{"above_prompt_tokens": 9}]},
        {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1, "tiers": [TIER, TIER]},
        {"usd_per_mtok_in": 3, "usd_per_mtok_cached_in": 2, "usd_per_mtok_out": 1, "tiers": [TIER]},
        {"usd_per_hour": 1, "tokens_per_s_in": 5, "tokens_per_s_out": 5, "usd_per_mtok_cached_in": 1},
        {"usd_per_hour": 1, "tokens_per_s_in": 5, "tokens_per_s_out": 5, "tiers": [TIER]},
    ],
)
def test_incomplete_or_impossible_prices_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Price.model_validate(fields)


def test_what_is_worked_out_of_a_price_is_worked_out_anew_for_a_copy() -> None:
    price = Price(usd_per_mtok_in=1, usd_per_mtok_out=1)
    assert price.cost_usd(1e6, 0.0) == 1
    assert price.model_copy(update={"usd_per_mtok_in": 4.0}).cost_usd(1e6, 0.0) == 4
    with pytest.raises(ValidationError):
        price.model_copy(update={"usd_per_mtok_in": None})


def test_a_cache_saves_what_its_price_says_and_nothing_of_short_prompts() -> None:
    price = Price(usd_per_mtok_in=3, usd_per_mtok_cached_in=0.3, usd_per_mtok_out=15)
    assert price.saved_by_cache_usd(20_000.0, 10_000.0) == pytest.approx(10_000 * 2.7e-6)
    assert price.saved_by_cache_usd(5_000.0, 10_000.0) == pytest.approx(5_000 * 2.7e-6)
    assert price.saved_by_cache_usd(20_000.0, 1_000.0) == 0
    assert Price(usd_per_mtok_in=3, usd_per_mtok_out=15).saved_by_cache_usd(20_000.0, 10_000.0) == 0


LISTED = """experts:
  - name: ann
    backend: openai
    model: m
    price:
      - {usd_per_mtok_in: 3, usd_per_mtok_out: 15}
      - {since: 2026-03-01, usd_per_mtok_in: 2, usd_per_mtok_out: 10}
      - since: 2026-09-01
        usd_per_mtok_in: 1
        usd_per_mtok_out: 5
        tiers:
          - {above_prompt_tokens: 1000, usd_per_mtok_in: 4}
"""


def listed(folder: Path, text: str) -> ExpertSpec:
    path = folder / "catalogue.yaml"
    path.write_text(text)
    return load_catalogue(path).experts[0]


def test_the_price_is_the_one_that_holds_at_the_time(tmp_path: Path) -> None:
    spec = listed(tmp_path, LISTED)
    east = timezone(timedelta(hours=9))
    for when, usd in (
        (datetime(1999, 1, 1, tzinfo=UTC), 3),
        (datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC), 3),
        (datetime(2026, 3, 1, tzinfo=UTC), 2),
        (datetime(2026, 3, 1, 8, 59, tzinfo=east), 3),
        (datetime(2026, 8, 31, 12, tzinfo=UTC), 2),
        (datetime(2030, 1, 1, tzinfo=UTC), 1),
    ):
        assert spec.price_at(when).cost_usd(1e3, 0.0) == pytest.approx(usd * 1e3 / 1e6)
    assert spec.price_at(datetime(2030, 1, 1, tzinfo=UTC)).cost_usd(2e3, 0.0) == pytest.approx(4 * 2e3 / 1e6)
    today = datetime.now(UTC)
    assert spec.price == spec.price_at(today)
    assert spec.version == spec.model_copy(update={"prices": spec.prices[:1]}).version


@pytest.mark.parametrize(
    ("was", "becomes", "line", "told"),
    [
        ("since: 2026-09-01", "since: 2026-01-01", 6, "order of their days"),
        (
            "- since: 2026-09-01\n        usd_per_mtok_in",
            "- usd_per_mtok_in",
            6,
            "give each price after the first",
        ),
        ("since: 2026-09-01", "since: soon", 8, "since"),
        ("usd_per_mtok_in: 2,", "usd_per_mtok_in: -2,", 7, "usd_per_mtok_in"),
        ("above_prompt_tokens: 1000", "above_tokens: 1000", 12, "above_prompt_tokens"),
    ],
)
def test_a_list_of_prices_that_cannot_be_names_the_line(
    tmp_path: Path, was: str, becomes: str, line: int, told: str
) -> None:
    assert was in LISTED
    with pytest.raises(InputError) as refused:
        listed(tmp_path, LISTED.replace(was, becomes))
    assert f"line {line}" in str(refused.value)
    assert told in str(refused.value)


def test_an_ask_keeps_the_price_at_which_it_was_made() -> None:
    from experts.upstream import ask_of

    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    prices = [
        Price(usd_per_mtok_in=1, usd_per_mtok_out=1, since=date(2020, 1, 1)),
        Price(usd_per_mtok_in=9, usd_per_mtok_out=9, since=tomorrow),
    ]
    spec = ExpertSpec(name="a", backend="openai", model="m", price=prices)
    assert ask_of(spec, {"messages": []}).price == prices[0]
