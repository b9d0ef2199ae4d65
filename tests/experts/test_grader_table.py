"""A grader is one file and one row: here the one of CONTRIBUTING.md, from its file to the graded answer."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from experts import ExpertSpec, Price, answer_and_grade
from experts.backends.base import RawAnswer, raw_table
from experts.grading import grade as table
from experts.grading.replies import comparable_answer
from pipelines.questions.loading import fields
from warehouse import QUESTIONS, InputError

GUIDE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
(NEW_FILE,) = re.findall(r"`experts/grading/contains\.py`:\n\n```python\n(.*?)```", GUIDE, re.DOTALL)


class Parrot:
    """A backend that says one thing."""

    def answer(self, questions, *, purse=None, keep=None):
        ids = questions["question_id"].to_pylist()
        return raw_table(ids, [RawAnswer(text="It is PARIS, I think.")] * len(ids))


@pytest.fixture
def contains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "contains.py"
    path.write_text(NEW_FILE)
    spec = importlib.util.spec_from_file_location("contains", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "contains", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(table.GRADERS, "contains", module.GRADER)


def test_one_file_and_one_row_add_a_grader(contains, tmp_path: Path) -> None:
    record = {"prompt": "Capital of France?", "answer": "Paris", "kind": "contains"}
    row = fields.read_question(fields.open_record(record, where="here"), source="test")
    with pytest.raises(InputError, match=r"here, field answer: too short to search for.*write it out"):
        fields.read_question(fields.open_record(record | {"answer": "P"}, where="here"), source="test")
    questions = pa.Table.from_pylist([row], schema=QUESTIONS)
    price = Price(usd_per_mtok_in=1.0, usd_per_mtok_out=1.0)
    spec = ExpertSpec(name="parrot", backend="recorded", model="m", recording=str(tmp_path), price=price)
    (answer,) = answer_and_grade(Parrot(), spec, questions, round="r", run_id="r").to_pylist()
    assert (answer["score"], answer["grader"]) == (1.0, "contains@1")
    assert comparable_answer("contains", None, "PARIS") == "paris"


def test_an_unknown_kind_is_refused_with_those_of_the_table() -> None:
    record = {"prompt": "x", "answer": "y", "kind": "contains"}
    with pytest.raises(InputError, match="use choice, exact, verified, judged"):
        fields.read_question(fields.open_record(record, where="here"), source="test")
