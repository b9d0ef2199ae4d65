"""A backend is one file and one row: it is in catalogues, answers, is graded, and can be served."""

import importlib.util
import sys

import pytest

from experts import answer_and_grade, build_backend, load_catalogue
from experts.backends.registry import BACKENDS
from pipelines.questions import load_questions
from serve.experts.deployments import DEPLOYMENTS, MAX_ONGOING, bind_expert
from warehouse import InputError

ECHO = '''
"""An expert that says the last word of what it is asked."""

from experts.backends.base import RawAnswer, raw_table
from experts.backends.kind import BackendKind


class EchoBackend:
    def __init__(self, spec):
        self.spec = spec

    def answer(self, questions, *, purse=None, keep=None):
        words = [prompt.split()[-1].strip("?") for prompt in questions["prompt"].to_pylist()]
        said = [RawAnswer(text=word, prompt_tokens=5, completion_tokens=1) for word in words]
        return raw_table(questions["question_id"].to_pylist(), said)


class EchoExpert:
    """The same face as the other deployments."""

    def __init__(self, spec):
        self.spec = spec


ECHO = BackendKind(
    build=lambda specs, _cache_dir: {spec.name: EchoBackend(spec) for spec in specs},
    check_runnable=lambda _spec, _hardware: [],
    in_flight=lambda _spec: 8,
    most_replicas=lambda _spec: 1,
)
'''
CATALOGUE = """
experts:
  - name: parrot
    backend: echo
    model: parrot-1
    price: {usd_per_mtok_in: 1, usd_per_mtok_out: 10}
"""


@pytest.fixture
def echo(tmp_path, monkeypatch):
    """The one new file, loaded, and its rows."""
    (tmp_path / "echo.py").write_text(ECHO)
    found = importlib.util.spec_from_file_location("echo", tmp_path / "echo.py")
    module = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, "echo", module)
    found.loader.exec_module(module)
    monkeypatch.setitem(BACKENDS, "echo", module.ECHO)
    monkeypatch.setitem(
        DEPLOYMENTS, "echo", (module.EchoExpert, lambda _spec: MAX_ONGOING, lambda _spec: {"num_cpus": 0})
    )
    return module


def test_one_file_and_one_row(echo, tmp_path):
    (tmp_path / "experts.yaml").write_text(CATALOGUE)
    (tmp_path / "questions.jsonl").write_text(
        '{"prompt": "What comes after 41? Say 42", "answer": "42"}\n{"prompt": "Say blue", "answer": "red"}\n'
    )
    spec = load_catalogue(tmp_path / "experts.yaml").get("parrot")
    questions = load_questions(str(tmp_path / "questions.jsonl"), round="r")
    rows = answer_and_grade(build_backend(spec), spec, questions, round="r", run_id="1").to_pylist()
    assert [(row["text"], row["score"]) for row in rows] == [("42", 1.0), ("blue", 0.0)]
    assert [row["cost_usd"] for row in rows] == pytest.approx([15e-6, 15e-6])
    bound = bind_expert(spec)._bound_deployment
    assert (bound.name, bound.func_or_class) == ("expert:parrot", echo.EchoExpert)


def test_without_the_row_a_catalogue_says_what_there_is(tmp_path):
    (tmp_path / "experts.yaml").write_text(CATALOGUE)
    with pytest.raises(InputError, match="line 4, expert 'parrot', field backend: no backend 'echo'"):
        load_catalogue(tmp_path / "experts.yaml")
