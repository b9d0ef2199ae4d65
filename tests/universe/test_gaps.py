"""Gaps: planted ones are found, chance is taken out, resamples agree."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from universe.analysis.gaps import brief_for_expert, brief_for_questions, find_gaps
from universe.analysis.regions import find_regions
from universe.model.expectation import Expected
from universe.report.figures import draw_frontier, draw_gaps, draw_marginal_values
from universe.report.tables import render_gaps
from warehouse import InputError, Outcomes, TooFewError

WORDS = {"law": "court judge contract", "maths": "integral prime matrix", "music": "chord melody tempo"}


def world(
    *, planted: str | None, dear_only: str | None = None, seed: int = 0
) -> tuple[Outcomes, Expected, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = 900
    domains = np.array(list(WORDS))[rng.integers(0, 3, n)]
    success = np.full((n, 2), 0.8)
    if planted:
        success[domains == planted] = 0.25  # four choices: blind guessing
    if dear_only:
        success[domains == dear_only, 0] = 0.3
        success[domains == dear_only, 1] = 0.9
    texts = tuple(f"about {rng.choice(WORDS[d].split())} and {rng.choice(WORDS[d].split())} no {i}"
                  for i, d in enumerate(domains))  # fmt: skip
    centres = {d: rng.standard_normal(16) for d in WORDS}
    vectors = np.stack([centres[d] for d in domains]) + rng.normal(0, 0.5, (n, 16))
    blank = np.full((n, 2), np.nan, dtype=np.float32)
    outcomes = Outcomes(
        question_ids=np.array([f"q{i}" for i in range(n)]),
        texts=texts,
        prompts=texts,
        sources=np.full(n, "made"),
        domains=domains,
        subjects=domains,
        chance=np.full(n, 0.25, dtype=np.float32),
        experts=("cheap", "dear"),
        score=(rng.random((n, 2)) < success).astype(np.float32),
        cost_usd=np.tile([0.1, 1.0], (n, 1)),
        prompt_tokens=blank,
        completion_tokens=blank,
        latency_s=blank,
    )
    return (
        outcomes,
        Expected(success, outcomes.cost_usd),
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_planted_gap_is_found_every_time_and_nothing_else(seed: int) -> None:
    outcomes, expected, vectors = world(planted="maths", seed=seed)
    report = find_gaps(outcomes, expected, ["cheap", "dear"], vectors, score_price_usd=2.0, seed=seed)
    assert report.gaps
    assert {d for g in report.gaps for d in g.domains} == {"maths"}
    covered = np.isin(report.regions.label, [g.region for g in report.gaps])
    assert covered[outcomes.domains == "maths"].mean() > 0.9
    for gap in report.gaps:
        assert gap.kind == "no expert"
        assert abs(gap.reached) < 0.25  # chance taken out: guessing is about 0
        assert gap.stability == 1.0
        assert gap.usd_worth == pytest.approx(gap.accuracy_worth * 2000)
    assert report.overlap > 0.9
    assert report.recovery > 0.9
    assert set(WORDS["maths"].split()) & set(report.gaps[0].words)


def test_regions_that_only_the_dearest_does_well_are_told_apart() -> None:
    outcomes, expected, vectors = world(planted=None, dear_only="music")
    report = find_gaps(outcomes, expected, ["cheap", "dear"], vectors)
    assert report.gaps
    assert {g.kind for g in report.gaps} == {"only the dearest"}
    assert {d for g in report.gaps for d in g.domains} == {"music"}
    gap = report.gaps[0]
    assert gap.best_expert == "dear"
    assert gap.usd_worth == pytest.approx(gap.traffic_share * 0.9 * 1000, rel=0.01)
    assert "cheaper" in brief_for_expert(gap, report.target)
    assert gap.example_ids[0] in brief_for_questions(gap)


def test_no_gap_is_invented_where_there_is_none() -> None:
    outcomes, expected, vectors = world(planted=None)
    assert find_gaps(outcomes, expected, ["cheap", "dear"], vectors).gaps == ()


def test_bad_requests_are_refused() -> None:
    outcomes, expected, vectors = world(planted=None)
    with pytest.raises(InputError, match="nobody"):
        find_gaps(outcomes, expected, ["nobody"], vectors)
    with pytest.raises(InputError, match="margin"):
        find_gaps(outcomes, expected, ["cheap"], vectors, margin=2.0)
    few, part = outcomes.take(np.arange(39)), Expected(expected.score[:39], expected.cost_usd[:39])
    with pytest.raises(TooFewError, match="too few"):
        find_gaps(few, part, ["cheap"], vectors[:39])


def test_as_few_questions_as_are_asked_for_are_enough() -> None:
    outcomes, expected, vectors = world(planted=None)
    part = Expected(expected.score[:40], expected.cost_usd[:40])
    assert find_gaps(outcomes.take(np.arange(40)), part, ["cheap", "dear"], vectors[:40]).resamples == 5


def test_cells_that_were_not_asked_hide_no_gap() -> None:
    outcomes, expected, vectors = world(planted=None, dear_only="music")
    music = np.flatnonzero(outcomes.domains == "music")
    outcomes.score[music[::20], 0] = np.nan
    found = find_gaps(outcomes, expected, ["cheap", "dear"], vectors).gaps
    assert {g.kind for g in found} == {"only the dearest"}
    assert {d for g in found for d in g.domains} == {"music"}


def test_what_a_blind_guess_cannot_miss_tells_nothing() -> None:
    outcomes, expected, vectors = world(planted=None)
    outcomes.chance[0] = 1.0
    outcomes.score[0] = 0.0
    assert 0 < find_gaps(outcomes, expected, ["cheap", "dear"], vectors).target < 1


def test_figures_are_drawn() -> None:
    from tests.universe.test_select import table, truth
    from universe.analysis.explain import marginal_values
    from universe.analysis.frontier import trace_frontier
    from universe.solver.select import universe_program

    outcomes, expected, vectors = world(planted="law")
    report = find_gaps(outcomes, expected, ["cheap", "dear"], vectors, resamples=1)
    assert len(draw_gaps(report).axes[0].patches) == len(report.gaps)
    small = table()
    program = universe_program(small, expected=truth(small))
    frontier = trace_frontier(program, points=4)
    assert len(draw_frontier(frontier).axes[0].lines[0].get_xdata()) == 4
    assert len(draw_marginal_values(marginal_values(program, ["dear"])).axes[0].patches) == 4


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("texts", ["words", "numbers", "equal"])
def test_every_region_has_a_name_of_its_own_that_tells_of_its_questions(texts: str, labelled: bool) -> None:
    outcomes, _, vectors = world(planted=None)
    written = {
        "words": outcomes.texts,
        "numbers": tuple(f"{i} + {i * 7 % 93}" for i in range(len(outcomes))),
        "equal": ("2 + 2",) * len(outcomes),
    }[texts]
    blank = np.full(len(outcomes), "")
    outcomes = replace(
        outcomes,
        texts=written,
        domains=outcomes.domains if labelled else blank,
        subjects=outcomes.subjects if labelled else blank,
    )
    regions = find_regions(outcomes, vectors, count=9)
    assert len(set(regions.names)) == regions.count == 9
    for region, name in enumerate(regions.names):
        (place,) = set(outcomes.domains[regions.label == region]) if labelled else {""}
        assert name.startswith(f"{place}: " if place else "")
        told = name.removeprefix(f"{place}: ")
        if texts == "words":
            assert set(told.split(", ")) & {w for words in WORDS.values() for w in words.split()}
        else:
            assert told.startswith("like “")
            assert told[6:9] in {text[:3] for text in written}


def test_the_name_of_a_gap_is_whole_on_a_narrow_screen() -> None:
    outcomes, expected, vectors = world(planted="maths")
    report = find_gaps(outcomes, expected, ["cheap", "dear"], vectors)
    screen = StringIO()
    Console(file=screen, width=80).print(render_gaps(report))
    shown = screen.getvalue()
    assert "…" not in shown
    for gap in report.gaps:
        assert all(word in shown for word in gap.name.replace(":", "").replace(",", "").split())


def test_gaps_are_worth_what_the_traffic_asks_there() -> None:
    outcomes, expected, vectors = world(planted="maths")
    plain = find_gaps(outcomes, expected, ["cheap", "dear"], vectors)
    rows = np.flatnonzero(outcomes.domains == "maths")
    elsewhere = np.flatnonzero(outcomes.domains != "maths")
    asked = np.concatenate([rows[:10], np.resize(elsewhere, 990)])
    report = find_gaps(outcomes, expected, ["cheap", "dear"], vectors, traffic=asked)
    assert report.requests == 1000
    assert sum(gap.traffic_share for gap in report.gaps) == pytest.approx(0.01, abs=0.003)
    total, before = (sum(gap.accuracy_worth for gap in found.gaps) for found in (report, plain))
    assert total < 0.1 * before
    console = Console(file=StringIO(), width=120)
    console.print(render_gaps(report))
    assert "1,000 recorded requests" in console.file.getvalue()  # type: ignore[attr-defined]
