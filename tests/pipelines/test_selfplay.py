"""A round that is stopped in every step ends as one that was left alone."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.questions.sources.base import QuestionSettings
from pipelines.selfplay.results import SelfplayResult
from pipelines.selfplay.round_record import RoundRecord, Step
from pipelines.selfplay.run import run_selfplay
from pipelines.selfplay.settings import AskingSettings, RouterSettings, SelfplaySettings, UniverseSettings
from warehouse import InfeasibleError, InputError, Warehouse, load_outcomes
from warehouse.home import Home

pytestmark = pytest.mark.e2e


def script(model: str, prompt: str) -> str:
    """Sums are for one expert, capitals for the other; asked again, an expert answers the same."""
    luck = zlib.crc32(f"{model} {prompt}".encode()) % 100
    at_home = ("capital" in prompt) == (model == "dear")
    return "A" if luck < (80 if at_home else 30) else "B"


class Stopped(BaseException):
    """What Ctrl-C is to a program."""


@pytest.mark.timeout(600)
def test_stopped_in_every_step_it_ends_the_same(
    tmp_path: Path,
    ray_cluster: None,
    scripted_server: Callable[[Callable[[str, str], str]], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalogue = write_catalogue(tmp_path, scripted_server(script), cheap=1, dear=5)
    config = SelfplaySettings(
        questions=QuestionSettings(
            domains=("geography/capital", "arithmetic/chain_sum"), per_domain=25, frozen_count=24
        ),
        asking=AskingSettings(explore=0.7),
        router=RouterSettings(embedder="wordllama", seeds=1),
        catalogue=str(catalogue),
    )
    undisturbed = run_selfplay(config, Home.open(tmp_path / "one"))

    plain = RoundRecord.step
    stops: list[str] = []

    def step(self: RoundRecord, name: str, work: Callable[[], Step], **settings: Step | None) -> Step:
        if name not in self and name not in stops and self.path.stem == "r000":
            stops.append(name)
            if len(stops) % 2:  # before the step, or when it is done but not yet written down
                raise Stopped(name)
            work()
            raise Stopped(name)
        return plain(self, name, work, **settings)

    monkeypatch.setattr(RoundRecord, "step", step)
    result = None
    while result is None:
        try:
            result = run_selfplay(config, Home.open(tmp_path / "two"))
        except Stopped:
            assert len(stops) < 20
    assert {
        "questions",
        "assignment",
        "universe",
        "training",
        "evaluation",
        "promotion",
        "gaps",
        "result",
    } <= set(stops)
    assert figures(result) == figures(undisturbed)
    one, two = (Warehouse(tmp_path / name / "warehouse") for name in ("one", "two"))
    assert keys(one, "answers") == keys(two, "answers")
    assert keys(one, "questions") == keys(two, "questions")


def judging_script(model: str, prompt: str) -> str:
    """The dear one knows why; the judge finds that right and all else wrong."""
    if model == "judge":
        return "C" if "because" in prompt.split("[Answer to grade]")[1] else "A"
    return "Paris, because it is." if model == "dear" else "Paris."


@pytest.mark.timeout(300)
def test_a_judge_grades_the_answers_of_a_round_at_its_own_cost(
    tmp_path: Path, ray_cluster: None, scripted_server: Callable[[Callable[[str, str], str]], str]
) -> None:
    catalogue = write_catalogue(tmp_path, scripted_server(judging_script), cheap=1, dear=5, judge=9)
    essays = tmp_path / "essays.jsonl"
    places = ("town", "river", "mountain", "island", "forest")
    essays.write_text(
        "\n".join(
            json.dumps({"prompt": f"Why is {place} number {word} well known?", "kind": "judged",
                        "answer": "because", "domain": place})
            for place in places for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")
        )
    )  # fmt: skip
    config = SelfplaySettings(
        questions=QuestionSettings(source=str(essays), frozen_count=10, per_round=30),
        asking=AskingSettings(judge="judge"),
        router=RouterSettings(embedder="wordllama", seeds=1),
        catalogue=str(catalogue),
    )
    home = Home.open(tmp_path / "home")
    with pytest.raises(InfeasibleError):  # found out once the answers are there, and mended then
        run_selfplay(replace(config, universe=UniverseSettings(max_cost_usd=1e-12)), home)
    store = home.warehouse()
    paid = store.scan("answers").num_rows
    result = run_selfplay(config, home)
    assert store.scan("answers").num_rows == paid > 0
    outcomes = load_outcomes(store).only(["cheap", "dear"])
    asked = outcomes.answered()
    frozen = store.scan("questions", ["round"])["round"].to_pylist().count("frozen")
    assert len(asked) == result.rounds[0].questions + frozen
    assert (asked.score[:, 0] == 0).all()
    assert (asked.score[:, 1] == 1).all()
    answers = store.scan("answers", ["expert", "cost_usd"])
    judged = [row["cost_usd"] for row in answers.to_pylist() if row["expert"] == "judge"]
    # Equal answers to one question are one question to the judge; each is paid once, and in the books.
    assert len(judged) == store.scan("judgements").num_rows == 2 * len(asked)
    assert result.cost_usd == pytest.approx(sum(answers["cost_usd"].to_pylist()))
    again = run_selfplay(config, home)
    assert again.cost_usd == result.cost_usd
    assert store.scan("answers").num_rows == answers.num_rows


def test_a_judge_must_leave_two_experts(tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path, "http://127.0.0.1:9/v1", cheap=1, judge=9)
    settings = SelfplaySettings(asking=AskingSettings(judge="judge"), catalogue=str(catalogue))
    with pytest.raises(InputError, match="leaves nothing to route"):
        run_selfplay(settings, Home.open(tmp_path / "home"))


def write_catalogue(folder: Path, url: str, **prices: float) -> Path:
    lines = [
        f"  - {{name: {name}, backend: openai, model: {name}, base_url: '{url}', scoring: generate,"
        f" timeout_s: 120, price: {{usd_per_mtok_in: {price}, usd_per_mtok_out: {price}}}}}"
        for name, price in prices.items()
    ]
    path = folder / "catalogue.yaml"
    path.write_text("\n".join(["experts:", *lines]))
    return path


def figures(result: SelfplayResult) -> list[object]:
    (found,) = result.rounds
    return [found.questions, found.answers, found.cost_usd, found.purchase, found.version, found.promoted,
            result.frozen_cost_usd]  # fmt: skip


def keys(store: Warehouse, table: str) -> list[tuple[object, ...]]:
    columns = ["question_id", "expert", "score"] if table == "answers" else ["question_id", "round"]
    found = store.scan(table, columns).to_pylist()
    return sorted(tuple(row[name] for name in columns) for row in found)
