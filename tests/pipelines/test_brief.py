"""Where the next questions go."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.questions.brief import Brief, CellResult, GapBrief, allot, weigh_cells, weigh_domains

CELLS = [("sums/a", 0), ("sums/a", 1), ("sums/a", 2), ("capitals/b", 0)]


def results(**reached):
    """Reached by experts x and y at each of the cells, 50 answers each."""
    return tuple(
        CellResult(cell, expert, 50, value)
        for expert, values in reached.items()
        for cell, value in zip(CELLS, values, strict=True)
    )


def test_nothing_known_spreads_evenly():
    assert weigh_cells(CELLS, Brief()).tolist() == [0.25] * 4


def test_questions_go_where_the_outcome_is_open():
    brief = Brief(results(x=(1.0, 0.5, 0.0, 0.98), y=(1.0, 0.5, 0.0, 0.98)))
    weights = weigh_cells(CELLS, brief)
    assert weights.argmax() == 1
    assert weights.min() > 0
    assert weights.sum() == pytest.approx(1)


def test_questions_go_where_experts_differ():
    brief = Brief(results(x=(1.0, 1.0, 1.0, 1.0), y=(1.0, 1.0, 1.0, 0.2)))
    assert weigh_cells(CELLS, brief).argmax() == 3


def test_a_gap_draws_questions_at_the_levels_where_experts_begin_to_fail():
    found = results(x=(0.6, 0.1, 0.0, 0.6), y=(0.6, 0.1, 0.0, 0.6))
    gap = GapBrief("sums", ("sums",), "make sums", ())
    plain, aimed = weigh_cells(CELLS, Brief(found)), weigh_cells(CELLS, Brief(found, (gap,)))
    assert aimed[:3].sum() > plain[:3].sum()
    assert aimed[0] > aimed[1] > aimed[2]
    domains = weigh_domains({"sums", "capitals"}, Brief(found, (gap,)))
    assert sum(domains.values()) == pytest.approx(1)


def test_few_answers_draw_questions():
    few = tuple(CellResult(cell, "x", 5 if cell[1] == 2 else 500, 0.5) for cell in CELLS)
    assert weigh_cells(CELLS, Brief(few)).argmax() == 2


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=9), st.integers(0, 200))
def test_allotment_is_whole_and_proportional(weights, count):
    shares = np.array(weights) / sum(weights)
    counts = allot(shares, count)
    assert counts.sum() == count
    assert (np.abs(counts - shares * count) < 1 + 1e-9).all()
