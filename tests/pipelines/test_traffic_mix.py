"""Rounds and gaps look at the traffic: more questions where people ask and something is lacking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.learning.traffic_mix import read_mix
from pipelines.questions.brief import (
    TRAFFIC_PULL,
    Brief,
    CellResult,
    TrafficShare,
    weigh_cells,
    weigh_domains,
)
from tests.traffic_world import record_traffic, train_first, write_catalogue
from warehouse import load_outcomes
from warehouse.home import Home

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


def test_requests_are_counted_to_the_questions_they_are_like(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from pipelines.cli import app
    from pipelines.selfplay.next_brief import read_brief

    home = Home.open(tmp_path / "home")
    home.make()
    catalogue = write_catalogue(tmp_path / "experts.yaml", "http://127.0.0.1:9/v1")
    assert read_mix(home, None) == ()
    train_first(home, catalogue, 120)
    learned = load_outcomes(home.warehouse())
    assert read_mix(home, learned) == (), "nothing is recorded"
    record_traffic(home, 60, texts=False, feedback_share=1.0)
    mix = {part.domain: part for part in read_mix(home, learned)}
    assert sum(part.share for part in mix.values()) == pytest.approx(1)
    assert mix["rivers"].share == pytest.approx(0.5, abs=0.05)
    assert mix["rivers"].need > mix["sums"].need, "users find that rivers are answered badly"
    brief = read_brief(home, home.warehouse(), learned, learned.experts)
    assert {part.domain for part in brief.traffic} == {"rivers", "sums"}
    shown = CliRunner().invoke(
        app, ["gaps", "--home", str(home.path), "--experts", "odd", "--no-track", "--target", "0.95"]
    )
    assert shown.exit_code == 0, shown.output
    assert "60 recorded requests" in " ".join(shown.output.split())
