"""Every name becomes one that MLflow takes, and no two the same."""

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import (
    _validate_metric_name,
    _validate_model_name,
    _validate_param,
    _validate_tag,
)

from warehouse.mlflow_names import LONGEST_NAME, valid_model_name, valid_name, valid_param, valid_tag

NAMES = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="ab+./ :\n\x00é家\ud800", max_size=12),
    st.text(alphabet="a/.", min_size=200, max_size=600),
)


@given(NAMES)
def test_every_name_is_taken_by_mlflow(name):
    made = valid_name(name)
    _validate_metric_name(made)
    _validate_param(made, valid_param(name))
    _validate_tag(made, valid_tag(name))
    assert len(made) <= LONGEST_NAME
    assert valid_name(made) == made
    _validate_model_name(valid_model_name(name))


@given(st.sets(NAMES, min_size=2, max_size=20))
def test_no_two_names_become_one(names):
    assert len({valid_name(name) for name in names}) == len(names)


@given(st.text(alphabet=["a", "é", "\ud800", " "], min_size=1, max_size=4), st.integers(4_000, 9_000))
def test_long_values_are_cut(piece, times):
    text = piece * times
    _validate_param("a", valid_param(text))
    _validate_tag("a", valid_tag(text))
    valid_tag(text).encode()


def test_names_that_stand_stay():
    for name in ("stack/accuracy", "answers/gemma-3-270m/cost_usd", "a.b", "x: y", "leeroo.note"):
        assert valid_name(name) == name
    assert valid_name("knn+domain/aiq").startswith("knn_domain/aiq.")
