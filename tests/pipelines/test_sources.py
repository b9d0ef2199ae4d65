"""Sources behind one interface: the hash keeps learned and frozen apart, briefs aim, nothing comes twice."""

import json
from collections import Counter

import pytest

from pipelines.questions.brief import Brief, CellResult
from pipelines.questions.sources.base import Request, is_frozen
from pipelines.questions.sources.dataset import DatasetSource
from pipelines.questions.sources.generated import GeneratorSource


def ids(made):
    return made.questions["question_id"].to_pylist()


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "mine.jsonl"
    records = [
        {"question": f"What follows {i} in {d}?", "choices": ["a", str(i)], "answer": 1, "domain": d}
        for d in ("sums", "letters")
        for i in range(150)
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    return DatasetSource(str(path))


@pytest.fixture(params=["generators", "data"])
def source(request, data):
    return GeneratorSource(["geography", "arithmetic"]) if request.param == "generators" else data


def test_what_is_frozen_is_never_learned_from(source):
    frozen = source.make(Request(30, "frozen", seed=1, frozen=True))
    learned = source.make(Request(100, "r0", seed=1))
    assert (len(ids(frozen)), len(ids(learned))) == (30, 100)
    assert all(map(is_frozen, frozen.questions.to_pylist()))
    assert not any(map(is_frozen, learned.questions.to_pylist()))
    assert len(set(frozen.questions["domain"].to_pylist())) == 2
    assert set(learned.questions["round"].to_pylist()) == {"r0"}


def test_the_same_request_makes_the_same_and_the_next_makes_others(source):
    first, again = (source.make(Request(40, "r0", seed=1)) for _ in range(2))
    assert ids(first) == ids(again)
    second = source.make(Request(40, "r1", seed=2, exclude=frozenset(ids(first))))
    assert len(ids(second)) == 40
    assert not set(ids(first)) & set(ids(second))


def test_generators_follow_the_brief_to_a_kind_and_level():
    source = GeneratorSource(["geography/capital", "arithmetic/chain_sum"])
    known = [CellResult(("geography/capital", level), "x", 200, 1.0) for level in range(3)]
    open_level = [
        CellResult(("arithmetic/chain_sum", level), "x", 20, p) for level, p in enumerate((0.5, 0, 0))
    ]
    made = source.make(Request(60, "r1", seed=3, brief=Brief((*known, *open_level))))
    rows = made.questions.to_pylist()
    count = Counter((row["subject"], row["difficulty"]) for row in rows)
    assert len(rows) == 60
    assert count.most_common(1)[0][0] == ("chain_sum", 0)
    assert count["chain_sum", 0] > 20


def test_data_sets_follow_the_brief_to_a_domain(data):
    brief = Brief((CellResult(("sums/", 0), "x", 100, 1.0), CellResult(("letters/", 0), "x", 100, 0.5)))
    made = data.make(Request(60, "r1", seed=3, brief=brief))
    assert Counter(made.questions["domain"].to_pylist())["letters"] > 40


def test_a_data_set_that_runs_dry_gives_what_is_left(data):
    assert len(ids(data.make(Request(1000, "r0", seed=0)))) == 300 - data.set_aside().questions.num_rows
