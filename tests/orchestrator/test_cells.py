"""Neighbours sought in cells: the same as among all rows where all are looked at, in any batch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.predictors.knn import KnnPredictor
from orchestrator.predictors.registry import predictor_from_state
from orchestrator.predictors.states import read_states, write_states
from orchestrator.text.cells import arrange
from orchestrator.text.queries import Examples, Queries

M = 3


def queries(n: int, seed: int, width: int = 8) -> Queries:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((12, width))
    embeddings = centres[rng.integers(0, 12, n)] + 0.3 * rng.standard_normal((n, width))
    return Queries(embeddings.astype(np.float32), np.zeros((n, 1), np.float32), (width,))


def examples(n: int, seed: int, missing: float) -> Examples:
    rng = np.random.default_rng(seed)
    score = rng.random((n, M), dtype=np.float32)
    score[rng.random((n, M)) < missing] = np.nan
    return Examples(queries(n, seed), SimpleNamespace(experts=("a", "b", "c"), score=score))


def fitted(patch: pytest.MonkeyPatch, n: int, missing: float, *, cells: bool, looked: int) -> KnnPredictor:
    patch.setattr("orchestrator.predictors.knn.FROM_ROWS", 50 if cells else 10**9)
    patch.setattr("orchestrator.text.cells.LOOKED_ROWS", looked)
    return KnnPredictor(neighbours=(5, 20)).fit(examples(n, 1, missing), examples(60, 2, missing))


@settings(max_examples=15, deadline=None)
@given(st.integers(50, 400), st.sampled_from([0.0, 0.4]))
def test_where_all_rows_are_looked_at_cells_change_nothing(n: int, missing: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        asked = queries(40, 3)
        with_cells, without = (fitted(patch, n, missing, cells=c, looked=10**6) for c in (True, False))
        assert (with_cells.k, with_cells.temperature) == (without.k, without.temperature)
        np.testing.assert_allclose(with_cells.predict(asked), without.predict(asked), rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(60, 400), st.integers(1, 60), st.sampled_from([0.0, 0.4]))
def test_a_query_gets_the_same_bits_alone_in_a_batch_and_after_loading(
    tmp_path_factory, n: int, looked: int, missing: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        knn = fitted(patch, n, missing, cells=True, looked=looked)
        asked = queries(20, 4)
        together = knn.predict(asked)
        alone = np.concatenate([knn.predict(asked.take(np.array([i]))) for i in range(20)])
        assert np.array_equal(together, alone)
        folder = tmp_path_factory.mktemp("states")
        write_states(folder, {"knn": knn.state()})
        for mapped in (False, True):
            again = predictor_from_state(read_states(folder, mapped=mapped)["knn"])
            assert np.array_equal(again.predict(asked), together)


def test_a_query_is_compared_with_a_part_of_the_rows_only() -> None:
    """Counted, not timed: with a hundred times the rows, what is compared less than doubles."""
    seen = []
    for n in (20_000, 200_000):
        rows = queries(n, 5, width=4).embeddings
        order, cells = arrange(rows)
        assert sorted(order[:100_000:9_999]) == sorted(set(order[:100_000:9_999]))
        positions, products = cells.products(rows[order], rows[0], 100)
        assert len(positions) == len(set(positions.tolist())) == len(products)
        np.testing.assert_allclose(products, rows[order][positions] @ rows[0], rtol=1e-4, atol=1e-5)
        seen.append(len(positions) + len(cells.centres))
    assert seen[1] < 1.5 * seen[0]


@pytest.mark.parametrize("n", [60, 400])
def test_routers_saved_before_there_were_cells_are_read(tmp_path, monkeypatch, n: int) -> None:
    knn = fitted(monkeypatch, n, 0.3, cells=False, looked=10)
    state = knn.state()
    del state.arrays["mean_score"], state.config["complete"]
    write_states(tmp_path, {"knn": state})
    again = predictor_from_state(read_states(tmp_path)["knn"])
    assert np.array_equal(again.predict(queries(10, 6)), knn.predict(queries(10, 6)))
