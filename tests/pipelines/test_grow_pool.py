"""`leeroo experts add` against servers that answer always the same, too late, or for a while only."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.text.splits import frozen_split
from orchestrator.versions.mlflow_registry import load_version, versions
from pipelines.cli import app
from pipelines.learning.grow_pool import growth_round
from tests.pipelines.recorded_home import import_recorded, train
from tests.scripted_api import ChatHandler, completion, serve_chat
from warehouse import CannotRunError, InputError, Warehouse, load_outcomes
from warehouse.home import Home

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


class Upstream:
    """A server whose conduct may change: it answers "A", answers too late, or hangs up."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answered = 0
        self.lasts = 10**9  # answers until it dies
        self.delay_s = 0.0
        self.turn = threading.Lock()

    def act(self, handler: ChatHandler, body: dict[str, Any]) -> None:
        time.sleep(self.delay_s)
        prompt = body["messages"][-1]["content"]
        with self.turn:
            self.asked[prompt] += 1
            is_dead = self.answered >= self.lasts
            self.answered += not is_dead
        if is_dead:
            handler.cut()
        else:
            handler.reply(completion("A", body["model"], tokens=(20, 1)))


@pytest.fixture
def upstream() -> Iterator[tuple[Upstream, str]]:
    """The server, and its base URL."""
    server = Upstream()

    class Handler(ChatHandler):
        def act(self, body: dict[str, Any]) -> None:
            server.act(self, body)

    with ExitStack() as stack:
        yield server, stack.enter_context(serve_chat(Handler))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion over two cheap experts and a dear one."""
    home = tmp_path_factory.mktemp("home")
    import_recorded(tmp_path_factory.mktemp("recorded"), home)
    train(home)
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    place = tmp_path / "home"
    shutil.copytree(trained, place)
    return place


def write_catalogue(folder: Path, url: str, *names: str, usd: float = 0.1, timeout_s: float = 60) -> Path:
    path = folder / "experts.yaml"
    lines = [
        f"  - {{name: {name}, backend: openai, model: m, base_url: '{url}', scoring: generate,"
        f" timeout_s: {timeout_s}, max_retries: 0, concurrency: 10,"
        f" price: {{usd_per_mtok_in: {usd}, usd_per_mtok_out: {usd}}}}}"
        for name in names
    ]
    path.write_text("\n".join(["experts:", *lines]))
    return path


def leeroo(home: Path, *arguments: str) -> tuple[str, BaseException | None]:
    """Run a command; return its words, and the error that it ended in."""
    run = CliRunner().invoke(app, [*arguments, "--home", str(home)])
    is_exit = isinstance(run.exception, SystemExit)
    return " ".join(run.output.split()), None if is_exit else run.exception


def add(home: Path, name: str, catalogue: Path, probes: int, tests: int, *more: str) -> tuple[str, Any]:
    counts = ["--probes", str(probes), "--test-questions", str(tests)]
    return leeroo(home, "experts", "add", name, *counts, "--catalogue", str(catalogue), *more)


def answers_of(home: Path, name: str) -> list[dict[str, Any]]:
    rows = Warehouse(home / "warehouse").scan("answers").to_pylist()
    return [row for row in rows if row["expert"] == name]


def test_one_that_always_answers_a_is_placed_as_what_it_is_and_can_be_put_to_the_test(
    home: Path, tmp_path: Path, upstream: tuple[Upstream, str], ray_cluster: None
) -> None:
    server, url = upstream
    catalogue = write_catalogue(tmp_path, url, "able", "other")
    said, error = add(home, "able", catalogue, 40, 30)
    assert error is None
    assert "placed from 40 probes (70 questions asked now for 0.0001" in said
    version = re.findall(r"`leeroo promote (\d+)`", said)[0]
    rows = answers_of(home, "able")
    assert len(rows) == 70 == sum(server.asked.values())
    assert {row["round"] for row in rows} == {growth_round("able")}
    known = load_outcomes(Warehouse(home / "warehouse"), experts=["able"]).answered()
    assert len(frozen_split(known.prompts).test) == 30
    # Every question of the recording has the answer A, so it is right; the router has heard of it.
    uri = Home.open(home).mlflow_uri
    assert load_version(uri, version).experts[-1] == "able"
    assert "on 30 held-out questions" in leeroo(home, "promote", version, "--force")[0]
    _, refused = add(home, "able", catalogue, 40, 30)
    assert "in the pool already" in str(refused)
    assert len(answers_of(home, "able")) == 70

    said, _ = add(home, "other", catalogue, 40, 0)
    assert said.startswith(f"0 held-out questions for the test against champion {version}, which needs 20")
    untested = re.findall(r"`leeroo promote (\d+) --force`", said)[0]
    assert len(answers_of(home, "other")) == 40
    assert "held-out questions were answered by all" in str(leeroo(home, "promote", untested)[1])
    forced = leeroo(home, "promote", untested, "--force")[0]
    assert f"version {untested} is champion: forced, without a test" in forced
    assert f"without a test against version {version}" in leeroo(home, "versions")[0]


def test_one_that_answers_too_late_is_not_judged_by_it(
    home: Path, tmp_path: Path, upstream: tuple[Upstream, str], ray_cluster: None
) -> None:
    server, url = upstream
    server.delay_s = 6.0
    catalogue = write_catalogue(tmp_path, url, "late", timeout_s=2)
    before = len(versions(Home.open(home).mlflow_uri))
    said, error = add(home, "late", catalogue, 10, 0)
    assert isinstance(error, CannotRunError)
    assert "10 questions to 'late' stay open" in str(error)
    assert "stay open" in said
    assert answers_of(home, "late") == []  # a time-out says nothing about a question
    assert len(versions(Home.open(home).mlflow_uri)) == before
    server.delay_s = 0.0
    write_catalogue(tmp_path, url, "late")  # with more patience it is the same expert
    said, error = add(home, "late", catalogue, 10, 0)
    assert error is None
    assert "late placed from 10 probes (10 questions asked now" in said


def test_one_that_dies_midway_is_taken_up_again_and_pays_for_no_question_twice(
    home: Path, tmp_path: Path, upstream: tuple[Upstream, str], ray_cluster: None
) -> None:
    server, url = upstream
    server.lasts = 45
    catalogue = write_catalogue(tmp_path, url, "frail")
    _, error = add(home, "frail", catalogue, 60, 20)
    assert isinstance(error, CannotRunError)
    kept = answers_of(home, "frail")
    assert 0 < len(kept) <= 45
    assert all(row["error"] is None for row in kept)
    server.lasts = 10**9
    said, error = add(home, "frail", catalogue, 60, 20)
    assert error is None
    assert f"placed from 60 probes ({80 - len(kept)} questions asked now" in said
    rows = answers_of(home, "frail")
    assert len(rows) == 80 == len({row["question_id"] for row in rows})
    # A changed prompt is another version of the expert: what the former one said does not count for it.
    catalogue.write_text(catalogue.read_text().replace("model: m,", "model: m2,"))
    said, error = add(home, "frail", catalogue, 60, 20)
    assert error is None
    assert "80 questions asked now" in said


def test_a_budget_is_never_passed_and_counts_what_was_spent_before(
    home: Path, tmp_path: Path, upstream: tuple[Upstream, str], ray_cluster: None
) -> None:
    _, url = upstream
    catalogue = write_catalogue(tmp_path, url, "dear", usd=1000)

    def spent() -> float:
        return float(sum(row["cost_usd"] for row in answers_of(home, "dear")))

    budget = "1.2"  # an answer costs 0.021, and might cost some thirty times that
    for _ in range(2):
        _, error = add(home, "dear", catalogue, 40, 0, "--budget-usd", budget)
        assert isinstance(error, CannotRunError)
        assert "budget" in str(error)
        assert spent() <= 1.2
    some = len(answers_of(home, "dear"))
    assert 0 < some < 40
    _, error = add(home, "dear", catalogue, 40, 0, "--budget-usd", "-1")
    assert error is None or isinstance(error, InputError | SystemExit)
    assert len(answers_of(home, "dear")) == some


def test_an_expert_that_nobody_knows_is_refused_before_anything_is_asked(
    home: Path, tmp_path: Path, upstream: tuple[Upstream, str]
) -> None:
    server, url = upstream
    _, error = add(home, "nobody", write_catalogue(tmp_path, url, "able"), 40, 0)
    assert isinstance(error, InputError)
    assert "no expert is called 'nobody'" in str(error)
    assert not server.asked
