"""The one reader of pool files: what it takes, and how it refuses the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.learning.pool_outcomes import find_pool
from universe.pool_file import POOL_NAME, read_pool, read_pool_file
from warehouse import InputError

POOLS = {
    "small": {"experts": ["a", {"name": "b", "price": 1}, "a"], "benchmark": "mmlu"},
    "experts": ["c", 7],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pools.yaml"
    path.write_text(yaml.safe_dump(POOLS))
    return path


def test_a_pool_is_named_by_its_file_or_within_it(file: Path) -> None:
    small = find_pool(f"{file}:small")
    assert (small.experts, small.benchmark) == (("a", "b"), "mmlu")
    assert (find_pool(str(file)).experts, find_pool(str(file)).benchmark) == (("c", "7"), None)
    with pytest.raises(InputError, match=r"no pool 'large'.*use one of: .*small"):
        find_pool(f"{file}:large")
    with pytest.raises(InputError, match="no such pool file"):
        find_pool("nowhere.yaml")
    with pytest.raises(InputError, match="no such pool file"):
        find_pool(str(file.parent))


BAD = [
    (b"experts: gpt-4", "no list `experts`"),  # a word is no list of letters
    (b"experts: {a: 1}", "no list `experts`"),
    (b"- a", "no list `experts`"),
    (b"", "no list `experts`"),
    (b"experts:", "no list `experts`"),
    (b"experts: []", "the pool is empty"),
    (b"experts: [a, null]", "entry 2 of `experts` is no name: None"),
    (b"experts: [[a]]", "entry 1 of `experts` is no name"),
    (b"experts: [{model: a}]", "entry 1 of `experts` is no name"),
    (b"experts: [true]", "entry 1 of `experts` is no name"),
    (b"experts: ['  ']", "entry 1 of `experts` is no name"),
    (b"experts: [a", "damaged, not YAML"),
    (b"experts: [a]\n\x00", "damaged, not YAML"),
    (b"\xff\xfe\x00", "damaged, not YAML"),
]


@pytest.mark.parametrize(("content", "says"), BAD)
def test_what_is_no_pool_is_refused_with_its_file_and_mend(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / POOL_NAME).write_bytes(content)
    for read in (lambda: read_pool(tmp_path), lambda: find_pool(str(tmp_path / POOL_NAME))):
        with pytest.raises(InputError) as refused:
            read()
        assert says in str(refused.value)
        assert POOL_NAME in str(refused.value)
        assert "To fix it" in str(refused.value)


YAML = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["experts", "name", "a"]), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(YAML)
def test_any_document_is_a_pool_of_names_or_refused(document: object) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        try:
            pool = read_pool_file(path)
        except InputError:
            return
    assert pool.experts
    assert all(isinstance(name, str) and name.strip() for name in pool.experts)
    assert len(set(pool.experts)) == len(pool.experts)
