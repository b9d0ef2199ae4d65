"""A run of rounds as a notebook calls it: nothing is printed, what happened is read from the events.

All answers are in the warehouse before the run begins, so that nobody is asked and no cluster is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from experts import Catalogue, load_catalogue
from pipelines.learning.evidence import read_evidence
from pipelines.questions import load_questions
from pipelines.questions.brief import Brief
from pipelines.questions.sources import opening
from pipelines.questions.sources.base import Desk, QuestionSettings, Request
from pipelines.questions.sources.opening import SourceKind, open_sources
from pipelines.ray_session import Connection
from pipelines.selfplay.events import (
    Answered,
    AnsweringBegins,
    Event,
    FrozenSet,
    GapsFound,
    LeftOut,
    Measured,
    QuestionsMade,
    RoundDone,
    RunDone,
    Trained,
    UniverseChosen,
)
from pipelines.selfplay.events import (
    Tested as RouterTested,
)
from pipelines.selfplay.frozen_set import FrozenQuestions
from pipelines.selfplay.make_questions import make_round_questions
from pipelines.selfplay.round import run_round
from pipelines.selfplay.round_record import FROZEN
from pipelines.selfplay.run import freeze_and_ask, open_selfplay, run_selfplay
from pipelines.selfplay.settings import (
    RoundPlan,
    RouterSettings,
    SelfplaySettings,
    UniverseSettings,
)
from tests.pipelines.counting_source import CountingSource, open_counting
from universe.pool_file import read_pool
from warehouse import InputError, Warehouse
from warehouse.home import Home

CATALOGUE = """\
experts:
  - {name: cheap, backend: openai, model: x, base_url: "http://127.0.0.1:9/v1", scoring: generate,
     price: {usd_per_mtok_in: 1, usd_per_mtok_out: 1}}
  - {name: dear, backend: openai, model: y, base_url: "http://127.0.0.1:9/v1", scoring: generate,
     price: {usd_per_mtok_in: 20, usd_per_mtok_out: 20}}
"""
WORDS = ("river", "engine", "sonnet", "theorem", "market", "planet", "enzyme", "treaty", "violin", "glacier")


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    path = tmp_path / "catalogue.yaml"
    path.write_text(CATALOGUE)
    return load_catalogue(path)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    rng = np.random.default_rng(0)
    path.write_text(
        "\n".join(
            json.dumps(
                {
                    "question": f"Number {i}: how does a {rng.choice(WORDS)} alter a {rng.choice(WORDS)}?",
                    "choices": ["so", "not at all", f"by {i}"],
                    "answer": i % 3,
                    "domain": ("science", "arts")[i % 2],
                }
            )
            for i in range(220)
        )
    )
    return path


@pytest.fixture
def home(tmp_path: Path, catalogue: Catalogue, questions: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home where both experts have answered everything: each at home in one domain."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("LEEROO_WAREHOUSE", raising=False)
    home = Home.open(tmp_path / "home")
    rows = load_questions(str(questions))
    answer_all(home.warehouse(), catalogue, rows)
    return home


def answer_all(warehouse: Warehouse, catalogue: Catalogue, rows: pa.Table) -> None:
    n, rng = rows.num_rows, np.random.default_rng(1)
    is_science = np.array(rows["domain"].to_pylist()) == "science"
    for spec, at_home in zip(catalogue.experts, (~is_science, is_science), strict=True):
        score = rng.random(n) < np.where(at_home, 0.9, 0.35)
        cost = 1e-5 if spec.name == "cheap" else 2e-4
        answers = {
            "question_id": rows["question_id"], "expert": [spec.name] * n,
            "expert_version": [spec.version] * n, "score": pa.array(score, pa.float32()),
            "prompt_tokens": pa.array([9] * n, pa.int32()), "cost_usd": [cost] * n,
        }  # fmt: skip
        warehouse.append("answers", pa.table(answers), round="before", expert=spec.name)


def settings_of(catalogue: Catalogue, questions: Path, **changes: object) -> SelfplaySettings:
    settings = SelfplaySettings(
        questions=QuestionSettings(source=str(questions), frozen_count=30, per_round=60),
        router=RouterSettings(embedder="wordllama", seeds=1),
        catalogue=str(catalogue.path),
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def kinds(told: Iterable[Event]) -> list[type]:
    return [type(event) for event in told]


#: What one round tells, and what a run tells around its rounds.
ROUND = [
    QuestionsMade,
    AnsweringBegins,
    Answered,
    UniverseChosen,
    Trained,
    Measured,
    RouterTested,
    GapsFound,
    RoundDone,
]
BEFORE = [FrozenSet, AnsweringBegins, Answered]


def without_progress(told: Iterable[Event]) -> list[Event]:
    return [event for event in told if type(event).__name__ not in ("AnswersCame", "Assigned")]


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_run_tells_what_it_does_and_a_refused_router_leaves_the_pool(
    home: Home, catalogue: Catalogue, questions: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[Event] = []
    first = run_selfplay(settings_of(catalogue, questions), home, told.append)
    assert kinds(without_progress(told)) == [*BEFORE, *ROUND, RunDone]
    (result,) = first.rounds
    assert result.promoted  # the first one has no rival
    assert result.purchase is not None
    chosen = next(event for event in told if isinstance(event, UniverseChosen)).universe
    assert read_pool(home.path) == list(chosen.experts)
    # Nobody is asked what has been answered, and nothing is paid for.
    assert not any(event.is_open for event in told if isinstance(event, AnsweringBegins))
    assert first.cost_usd == 0.0
    domains = next(event.domains for event in told if isinstance(event, Answered) and event.domains)
    assert {row.domain for row in domains} == {"science", "arts"}

    # A second round that learns the same is refused. Its universe would be another: one expert.
    pool = (home.path / "pool.yaml").read_bytes()
    told.clear()
    later = settings_of(
        catalogue, questions, rounds=RoundPlan("r001"), universe=UniverseSettings(max_experts=1)
    )
    with open_selfplay(later, home, told.append) as run:  # a round by itself, as a notebook runs it
        second, brief = run_round(run, "r001", freeze_and_ask(run), None, Brief())
    assert brief.results
    tested = next(event for event in told if isinstance(event, RouterTested)).standing
    assert (tested.promoted, second.promoted) == (False, False)
    assert len(next(e for e in told if isinstance(e, UniverseChosen)).universe.experts) == 1
    assert (home.path / "pool.yaml").read_bytes() == pool
    assert first.rounds[0].version != second.version

    # Resumed, a finished run tells what it had found, trains nothing and changes nothing.
    told.clear()
    again = run_selfplay(later, home, told.append)
    assert kinds(without_progress(told)) == [*BEFORE, RoundDone, RunDone]
    assert again.rounds == (second,)
    assert (home.path / "pool.yaml").read_bytes() == pool
    printed = capfd.readouterr()
    assert "Round" not in printed.out + printed.err
    assert "┃" not in printed.out


def test_what_is_tested_on_is_not_learned_from(home: Home, questions: Path) -> None:
    rows = load_questions(str(questions))
    ids = rows["question_id"].to_pylist()
    home.warehouse().append("questions", rows, round="r0")
    assert read_evidence(home.warehouse(), ["nobody"], []) is None
    assert read_evidence(Warehouse(home.path / "empty"), ["cheap"], []) is None
    evidence = read_evidence(home.warehouse(), ["cheap", "dear"], ids[:40])
    assert evidence is not None
    learned, frozen = evidence.to_learn(), evidence.to_test()
    assert learned is not None
    assert frozen is not None
    assert set(frozen.question_ids) == set(ids[:40])
    assert not set(learned.question_ids) & set(ids[:40])
    assert len(learned) + len(frozen) == len(evidence.every) < len(ids)  # a fifth is nobody's to learn from
    assert evidence.every.experts == ("cheap", "dear")


def test_a_source_is_added_by_one_file_and_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = SourceKind("counting", open_counting)
    monkeypatch.setattr(opening, "SOURCES", (row, *opening.SOURCES))
    warehouse = Warehouse(tmp_path / "warehouse")
    settings = QuestionSettings(source="counting:7", per_domain=12)
    sources = open_sources(settings, Desk(warehouse))
    assert isinstance(sources.freezing, CountingSource)
    assert sources.per_round == 12
    frozen = sources.freezing.make(Request(5, FROZEN, seed=0, frozen=True)).questions
    warehouse.append("questions", frozen, round=FROZEN)
    made = make_round_questions(
        sources, warehouse, Connection(), round="r0", run_id="x", seed=0,
        frozen=FrozenQuestions(tuple(frozen["question_id"].to_pylist()), sources.freezing.name),
        used_ids=[], brief=Brief(), left_usd=lambda: None,
    )  # fmt: skip
    assert len(made["ids"]) == 12
    assert not set(made["ids"]) & set(frozen["question_id"].to_pylist())
    assert made["by_domain"] == {"counting": 12}
    kept = warehouse.scan("questions", ["round"])["round"].to_pylist()
    assert kept.count("r0") == 12


def test_the_frozen_set_may_come_from_another_kind_of_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "SOURCES", (SourceKind("counting", open_counting), *opening.SOURCES))
    settings = QuestionSettings(frozen="counting:3", domains=("geography/capital",))
    sources = open_sources(settings, Desk(Warehouse(tmp_path)))
    assert sources.freezing.name == "counting:3"
    assert [source.name for source in sources.learning] == ["generators"]


def test_no_source_takes_everything_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "SOURCES", (SourceKind("counting", open_counting),))
    with pytest.raises(InputError, match=r"--questions.*no kind of source takes 'mine'"):
        open_sources(QuestionSettings(source="mine"), Desk(Warehouse(tmp_path)))


def test_experts_without_costs_or_scores_do_not_end_a_round(
    home: Home, catalogue: Catalogue, questions: Path, tmp_path: Path
) -> None:
    """One API told no tokens and one has failed at everything: the others' answers train a router."""
    path = tmp_path / "four.yaml"
    dear = CATALOGUE[CATALOGUE.index("  - {name: dear") :]
    more = "".join(dear.replace("dear", name) for name in ("uncounted", "down"))
    path.write_text(CATALOGUE + more)
    four = load_catalogue(path)
    rows = load_questions(str(questions))
    n = rows.num_rows
    for name, columns in {
        "uncounted": {"score": pa.array([1.0] * n, pa.float32())},
        "down": {"error": ["content_filter: withheld"] * n},
    }.items():
        spec = four.get(name)
        keys = {
            "question_id": rows["question_id"],
            "expert": [name] * n,
            "expert_version": [spec.version] * n,
        }
        home.warehouse().append("answers", pa.table(keys | columns), round="before", expert=name)
    told: list[Event] = []
    result = run_selfplay(settings_of(four, questions), home, told.append)
    assert [event.experts for event in told if isinstance(event, LeftOut)] == [("uncounted", "down")]
    assert result.rounds[0].promoted
    evidence = read_evidence(home.warehouse(), four.names, [])
    assert evidence is not None
    assert set(evidence.every.experts) == {"cheap", "dear"}
    assert read_evidence(home.warehouse(), ["uncounted", "down"], []) is None
