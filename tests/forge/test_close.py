"""Closing a gap: what does not pay or cannot suffice is refused, with figures; gaps go by the traffic."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.forge.closing import gaps
from pipelines.forge.closing.gaps import choose_gap, list_gaps
from pipelines.forge.closing.judgement import Mix, make_judgement, read_mix_of_kinds
from pipelines.forge.gap import find_target
from pipelines.questions.sources.base import is_frozen
from warehouse.home import Home

GAP = "arithmetic/chain_sum"
SMALL = ["--steps", "8", "--batch", "8", "--validation", "12", "--probe-steps", "4", "--threads", "1"]


@pytest.fixture
def place(gap_home: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    return Path(shutil.copytree(gap_home[0], tmp_path / "home")), gap_home[1]


def leeroo(place: tuple[Path, Path], *arguments: str):
    home, catalogue = place
    more = ["--home", str(home)] + (["--catalogue", str(catalogue)] if arguments[1] != "gaps" else [])
    return CliRunner().invoke(app, [*arguments, *more])


def test_the_real_plan_refuses_a_second_gap_with_figures(place: tuple[Path, Path]) -> None:
    run = leeroo(place, "forge", "plan", "logic/family_relationships", *SMALL, "--json")
    assert run.exit_code == 1, run.output
    assert isinstance(run.exception, SystemExit), run.exception
    made = json.loads(run.output)
    assert (made["gap"], made["base"], made["pays"]) == ("logic/family_relationships", "tiny", False)
    assert made["reason"].startswith("no: ")
    assert 0 <= made["expected"]["low"] <= made["expected"]["value"] <= 1


def test_close_goes_no_further_than_a_plan_that_does_not_pay(place: tuple[Path, Path]) -> None:
    recipe = place[0].parent / "recipe.yaml"
    recipe.write_text("rank: 3\nalpha: 5.0\nevaluate_every: 50\nsteps: 999\n")
    close = ["forge", "close", *SMALL, "--questions", "60", "--queries-per-month", "0", "--judged-on", "40"]
    run = leeroo(place, *close, "--recipe", str(recipe))
    assert run.exit_code == 1, run.output
    assert f"the gap that holds most: {GAP}" in run.output
    assert "not closed: it does not pay: no: " in run.output
    record = json.loads((place[0] / "forge" / "arithmetic-chain-sum" / "record.json").read_text())
    used = record["settings"]["recipe"]
    assert (used["rank"], used["alpha"], used["steps"], used["evaluate_every"]) == (3, 5.0, 8, 2)
    assert not record["plan"]["pays"]
    assert "train" not in record
    home = Home.open(place[0])
    assert [(gap.name, gap.state) for gap in list_gaps(home)] == [
        (GAP, "refused"), ("logic/family_relationships", "open"),
    ]  # fmt: skip
    assert choose_gap(home) == "logic/family_relationships"
    # What it is judged by was set aside before a training question was made, and is still not learned from.
    table = home.warehouse().scan("questions")
    judged = table.filter(pc.equal(table["round"], "judge-arithmetic-chain-sum")).to_pylist()
    assert len(judged) == 40
    assert all(map(is_frozen, judged))
    assert sum(row["domain"] == "arithmetic" for row in judged) == 10


@pytest.mark.parametrize("cap", [("--budget-usd", "0.0000001"), ("--minutes", "0.1")])
def test_a_cap_that_cannot_suffice_is_refused_before_any_work(
    place: tuple[Path, Path], cap: tuple[str, str]
) -> None:
    run = leeroo(place, "forge", "close", GAP, *SMALL, "--questions", "60", *cap)
    assert run.exit_code != 0
    assert "do not suffice" in str(run.exception) + run.output
    assert not (place[0] / "forge" / "arithmetic-chain-sum" / "record.json").exists()


def test_time_that_was_used_before_counts(place: tuple[Path, Path]) -> None:
    folder = place[0] / "forge" / "arithmetic-chain-sum"
    folder.mkdir(parents=True)
    (folder / "spent.json").write_text('{"seconds": 3600}')
    run = leeroo(place, "forge", "close", GAP, *SMALL, "--questions", "60", "--minutes", "59")
    assert run.exit_code != 0
    assert "60.0 are used" in str(run.exception) + run.output


def test_gaps_go_by_the_traffic_where_there_is_any(
    place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.open(place[0])
    assert [gap.domain for gap in list_gaps(home)] == ["arithmetic", "logic"]
    shares = {"logic": 0.6, "arithmetic": 0.1, "english": 0.3}
    monkeypatch.setattr(gaps, "read_traffic_shares", lambda home: shares)
    found = list_gaps(home)
    assert [(gap.domain, gap.share, gap.told_by) for gap in found] == [
        ("logic", 0.6, "the traffic"), ("arithmetic", 0.1, "the traffic"),
    ]  # fmt: skip
    mix = read_mix_of_kinds(home, shares)
    assert sum(mix.shares.values()) == pytest.approx(1)
    made = make_judgement(home, find_target("logic/family_relationships"), mix, 100)
    assert sum(row["domain"] == "logic" for row in made.to_pylist()) == pytest.approx(60, abs=2)


def test_the_part_of_the_gap_stays_where_the_others_have_too_few_questions(place: tuple[Path, Path]) -> None:
    mix = Mix({GAP: 0.5, "chemistry/symbol": 0.5}, "the traffic")
    made = make_judgement(Home.open(place[0]), find_target(GAP), mix, 1_000).to_pylist()
    of_gap = sum(row["domain"] == "arithmetic" for row in made)
    assert 0 < of_gap < 100
    assert of_gap == pytest.approx(len(made) / 2, abs=1)
    assert all(map(is_frozen, made))
