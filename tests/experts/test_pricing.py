from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from experts import Price

money = st.floats(0, 1e3)
tokens = st.integers(0, 10**7)


@given(money, money, tokens, tokens)
def test_cost_is_linear_and_arrays_agree_with_floats(usd_in: float, usd_out: float, n: int, m: int) -> None:
    price = Price(usd_per_mtok_in=usd_in, usd_per_mtok_out=usd_out)
    one = price.cost_usd(float(n), float(m))
    assert one == pytest.approx((n * usd_in + m * usd_out) / 1e6)
    many = price.cost_usd(np.array([n, 2.0 * n, np.nan]), np.array([m, 2.0 * m, 0.0]))
    np.testing.assert_allclose(many, [one, 2 * one, np.nan], rtol=1e-9)


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
    ],
)
def test_incomplete_or_impossible_prices_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Price.model_validate(fields)
