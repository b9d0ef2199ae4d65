"""Rounds and gaps look at the traffic: more questions where people ask and something is lacking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.questions.brief import (
    TRAFFIC_PULL,
    Brief,
    CellResult,
    TrafficShare,
    weigh_cells,
    weigh_domains,
)

CELLS = [("sums/a", 0), ("sums/a", 1), ("capitals/b", 0), ("rivers/c", 0)]
KNOWN = tuple(CellResult(cell, expert, 50, 0.5) for cell in CELLS for expert in ("x", "y"))


def share_of(weights: np.ndarray, domain: str) -> float:
    return float(sum(w for w, (name, _) in zip(weights, CELLS, strict=True) if name.startswith(f"{domain}/")))


def test_questions_go_where_people_ask_and_something_is_lacking() -> None:
    plain = weigh_cells(CELLS, Brief(KNOWN))
    traffic = (TrafficShare("rivers", 0.7, 0.5), TrafficShare("sums", 0.3, 0.0))
    aimed = weigh_cells(CELLS, Brief(KNOWN, traffic=traffic))
    assert share_of(aimed, "rivers") > share_of(plain, "rivers") + 0.2
    weak = (TrafficShare("rivers", 0.5, 0.0), TrafficShare("sums", 0.5, 0.8))
    aimed = weigh_cells(CELLS, Brief(KNOWN, traffic=weak))
    assert share_of(aimed, "sums") > share_of(aimed, "rivers")
    assert share_of(aimed, "capitals") == pytest.approx((1 - TRAFFIC_PULL) * share_of(plain, "capitals"))
    by_domain = weigh_domains(["sums", "capitals", "rivers"], Brief(KNOWN, traffic=traffic))
    assert by_domain["rivers"] == max(by_domain.values())


def test_traffic_about_something_else_changes_nothing() -> None:
    plain = weigh_cells(CELLS, Brief(KNOWN))
    assert weigh_cells(CELLS, Brief(KNOWN, traffic=(TrafficShare("poems", 1.0, 1.0),))) == pytest.approx(
        plain
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sums", "capitals", "rivers", "poems"]), st.floats(0.01, 1), st.floats(0, 1)
        ),
        unique_by=lambda part: part[0],
    ),
    st.booleans(),
)
def test_shares_stay_shares(parts: list[tuple[str, float, float]], is_known: bool) -> None:
    total = sum(share for _, share, _ in parts) or 1.0
    traffic = tuple(TrafficShare(name, share / total, need) for name, share, need in parts)
    weights = weigh_cells(CELLS, Brief(KNOWN if is_known else (), traffic=traffic))
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()
