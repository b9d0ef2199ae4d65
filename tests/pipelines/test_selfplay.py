"""A round that is stopped in every step ends as one that was left alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.home import Home
from pipelines.round_record import RoundRecord, Step
from pipelines.selfplay import SelfplayConfig, SelfplayResult, run_selfplay
from warehouse import Warehouse

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
    url = scripted_server(script)
    lines = [
        f"  - {{name: {name}, backend: openai, model: {name}, base_url: '{url}', scoring: generate,"
        f" price: {{usd_per_mtok_in: {price}, usd_per_mtok_out: {price}}}}}"
        for name, price in (("cheap", 1), ("dear", 5))
    ]
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text("\n".join(["experts:", *lines]))
    config = SelfplayConfig(
        catalogue=str(catalogue), domains=("geography/capital", "arithmetic/chain_sum"), per_domain=25,
        frozen_questions=24, explore=0.7, embedder="wordllama", seeds=1,
    )  # fmt: skip
    undisturbed = run_selfplay(config, Home.open(tmp_path / "one"))

    plain = RoundRecord.step
    stops: list[str] = []

    def step(self: RoundRecord, name: str, work: Callable[[], Step]) -> Step:
        if name not in self and name not in stops and self.path.stem == "r000":
            stops.append(name)
            if len(stops) % 2:  # before the step, or when it is done but not yet written down
                raise Stopped(name)
            work()
            raise Stopped(name)
        return plain(self, name, work)

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


def figures(result: SelfplayResult) -> list[object]:
    (found,) = result.rounds
    return [found.questions, found.answers, found.cost_usd, found.purchase, found.version, found.promoted,
            result.frozen_cost_usd]  # fmt: skip


def keys(store: Warehouse, table: str) -> list[tuple[object, ...]]:
    columns = ["question_id", "expert", "score"] if table == "answers" else ["question_id", "round"]
    found = store.scan(table, columns).to_pylist()
    return sorted(tuple(row[name] for name in columns) for row in found)
