"""Where the universe falls short: regions of questions that no expert, or only the dearest, answers well.

Regions are clusters of questions alike in wording, domain and subject. What is reached in a region is the
mean real outcome of the experts that the router picks, with the level of blind guessing taken out:
(score - chance) / (1 - chance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from universe.analysis.regions import Regions, find_regions
from universe.model.expectation import Expected
from warehouse import InputError, Outcomes, TooFewError

Kind = Literal["no expert", "only the dearest"]
QUERIES_PRICED = 1_000  # dollar values are per so many queries
FEWEST_QUESTIONS = 40  # in which regions can be found
FEWEST_ROWS = 10  # of a region that tell what is reached there


@dataclass(frozen=True)
class Gap:
    """A region that falls short, and what closing it is worth."""

    region: int
    name: str
    domains: tuple[str, ...]
    words: tuple[str, ...]
    kind: Kind
    questions: int
    traffic_share: float  # of the requests where they are given, else of the questions
    reached: float  # chance taken out, in [0, 1] for any router at or above guessing
    interval: tuple[float, float]  # bootstrap, 95%
    best_expert: str  # best single one here
    best_score: float  # of that one, chance taken out
    accuracy_worth: float  # overall score that closing the gap would add
    usd_worth: float  # per 1,000 queries; NaN where score has no price
    stability: float  # share of resamples in which the region is a gap again
    example_ids: tuple[str, ...]


@dataclass(frozen=True)
class GapReport:
    """All gaps, worth most first."""

    gaps: tuple[Gap, ...]
    regions: Regions
    target: float  # level a region should reach, chance taken out
    overlap: float  # mean Jaccard overlap of the questions in gaps, between resamples and the report
    recovery: float  # mean share of the report's questions that lie in a resample's gaps
    unstable: int  # regions that fell short but were not found again often enough to be named
    resamples: int
    requests: int = 0  # recorded ones by which regions are weighted; 0: by their questions


def find_gaps(
    outcomes: Outcomes,
    expected: Expected,
    experts: Sequence[str],
    embeddings: NDArray[np.floating],
    *,
    target: float | None = None,
    margin: float = 0.1,
    score_price_usd: float | None = None,
    resamples: int = 5,
    min_stability: float = 0.6,
    seed: int = 0,
    traffic: NDArray[np.integer] | None = None,
) -> GapReport:
    """Find the regions where a universe falls short by more than noise, and check them on resamples.

    A region is a gap of kind "no expert" when the 95% interval of what the routed universe reaches there
    lies below ``target - margin``; of kind "only the dearest" when that is not so, but without the dearest
    expert it would be. Stability: the whole search, regions included, is repeated on bootstrap samples
    of the questions; a gap is found again when over half of its questions lie in gaps.

    Args:
        outcomes: n questions, m experts.
        expected: cross-fitted, rows as in ``outcomes``.
        experts: the universe.
        embeddings: [n, d] unit rows.
        target: level that every region should reach, chance taken out; by default what the universe
            reaches overall.
        margin: how far below the target counts.
        score_price_usd: what one whole point of score is worth on one query, in USD; without it the
            dollar value of gaps that no expert fills is not a number.
        resamples: bootstrap samples for the stability.
        min_stability: share of the resamples in which a gap must be found again to be named.
        seed: of clusters and resamples.
        traffic: [t] of recorded requests the row of the question that each is most like: a region's share is
            then that of the requests, and its gap worth as much.

    Raises:
        InputError: shapes do not agree, or an expert is unknown.
        TooFewError: there are too few questions.
    """
    if len(embeddings) != len(outcomes) or expected.score.shape != outcomes.score.shape:
        raise InputError("embeddings, expected and outcomes must have the same questions", where="find_gaps")
    unknown = [name for name in experts if name not in outcomes.experts]
    if unknown or not experts:
        raise InputError(
            f"no outcomes of {unknown[0]!r}" if unknown else "the universe is empty", where="experts"
        )
    if not 0 <= margin < 1:
        raise InputError(f"must be in [0, 1), not {margin}", where="margin")
    if len(outcomes) < FEWEST_QUESTIONS:
        raise TooFewError(
            f"{len(outcomes)} questions are too few to find regions in",
            fix=f"answer at least {FEWEST_QUESTIONS}",
        )
    reach = _Reach(outcomes, expected, experts)
    regions = find_regions(outcomes, embeddings, seed=seed)
    level = reach.level(np.arange(len(outcomes))) if target is None else target
    gaps = _judge(outcomes, reach, regions, level, margin, score_price_usd, seed, traffic)
    rng = np.random.default_rng(seed + 1)
    again = np.zeros(len(gaps))
    overlaps = []
    flags: list[tuple[NDArray[np.int64], NDArray[np.bool_]]] = []
    for r in range(resamples):
        rows = np.unique(rng.integers(0, len(outcomes), len(outcomes)))
        part = outcomes.take(rows)
        here = find_regions(part, embeddings[rows], seed=seed + 1 + r)
        sub = reach.take(rows)
        found = _judge(part, sub, here, level, margin, score_price_usd, seed)
        flagged = np.isin(here.label, [g.region for g in found])
        for i, gap in enumerate(gaps):
            mine = regions.label[rows] == gap.region
            again[i] += bool(mine.any() and flagged[mine].mean() > 0.5)
        flags.append((rows, flagged))
    share = again / resamples if resamples else np.ones(len(gaps))
    stable = [
        replace(gap, stability=float(s)) for gap, s in zip(gaps, share, strict=True) if s >= min_stability
    ]
    named = np.isin(regions.label, [g.region for g in stable])
    recovered = []
    for rows, flagged in flags:
        both, either = (flagged & named[rows]).sum(), (flagged | named[rows]).sum()
        overlaps.append(both / either if either else 1.0)
        recovered.append(both / named[rows].sum() if named[rows].any() else 1.0)
    return GapReport(
        tuple(sorted(stable, key=lambda g: -g.accuracy_worth)),
        regions,
        float(level),
        float(np.mean(overlaps)) if overlaps else 1.0,
        float(np.mean(recovered)) if recovered else 1.0,
        len(gaps) - len(stable),
        resamples,
        0 if traffic is None else len(traffic),
    )


def brief_for_questions(gap: Gap) -> str:
    """A brief for the maker of questions: more of this region, to find where experts begin to fail."""
    return (
        f"Make questions in {', '.join(gap.domains)} around: {', '.join(gap.words)}. The universe reaches"
        f" {gap.reached:.2f} there (chance taken out, {gap.questions} questions). Vary the difficulty, so"
        " that it shows where the experts begin to fail; stay close to the examples "
        f"{', '.join(gap.example_ids)}."
    )


def brief_for_expert(gap: Gap, target: float) -> str:
    """What to look for in a new expert."""
    need = (
        f"one that reaches {target:.2f} (chance taken out)"
        if gap.kind == "no expert"
        else f"a cheaper one that comes near the {gap.best_score:.2f} of {gap.best_expert}"
    )
    worth = "" if np.isnan(gap.usd_worth) else f" and {gap.usd_worth:.3g} USD per {QUERIES_PRICED:,} queries"
    return (
        f"Look for {need} on {', '.join(gap.domains)} questions about {', '.join(gap.words[:5])}"
        f" ({gap.traffic_share:.1%} of the traffic). That is worth up to {gap.accuracy_worth:.4f} of"
        f" score{worth}."
    )


class _Reach:
    """What the routed universe reaches, question by question, with and without its dearest expert."""

    def __init__(self, outcomes: Outcomes, expected: Expected, experts: Sequence[str]) -> None:
        self.columns = np.array([outcomes.experts.index(name) for name in experts])
        self.experts = tuple(experts)
        score = outcomes.score[:, self.columns].astype(np.float64)
        guess = np.asarray(outcomes.chance, dtype=np.float64)[:, None]
        # [n, k]; a question that a blind guess cannot miss tells nothing
        self.above_chance = np.where(guess < 1, score - guess, np.nan) / np.maximum(1 - guess, 1e-9)
        self.cost_usd = expected.cost_usd[:, self.columns]
        likely = np.where(np.isfinite(score), expected.score[:, self.columns], -np.inf)
        self.dearest = int(self.cost_usd.mean(axis=0).argmax())
        self.routed, self.spent = self._route(likely)
        cheaper = likely.copy()
        cheaper[:, self.dearest] = -np.inf
        if len(experts) > 1:
            self.without, self.spent_without = self._route(cheaper)
        else:
            self.without, self.spent_without = self.routed, self.spent

    def _route(self, likely: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        pick = likely.argmax(axis=1)[:, None]
        known = np.isfinite(likely.max(axis=1))
        value = np.take_along_axis(self.above_chance, pick, 1)[:, 0]
        return np.where(known, value, np.nan), np.take_along_axis(self.cost_usd, pick, 1)[:, 0]

    def take(self, rows: NDArray[np.int64]) -> _Reach:
        part = object.__new__(_Reach)
        part.columns, part.experts, part.dearest = self.columns, self.experts, self.dearest
        for name in ("above_chance", "cost_usd", "routed", "spent", "without", "spent_without"):
            setattr(part, name, getattr(self, name)[rows])
        return part

    def level(self, rows: NDArray[np.int64]) -> float:
        return float(np.nanmean(self.routed[rows]))


def _judge(
    outcomes: Outcomes,
    reach: _Reach,
    regions: Regions,
    level: float,
    margin: float,
    score_price_usd: float | None,
    seed: int,
    traffic: NDArray[np.integer] | None = None,
) -> list[Gap]:
    rng = np.random.default_rng(seed)
    asked = regions.label if traffic is None or not len(traffic) else regions.label[traffic]
    found = []
    for region in range(regions.count):
        rows = np.flatnonzero((regions.label == region) & np.isfinite(reach.routed))
        if len(rows) < FEWEST_ROWS:
            continue
        reached, interval = _mean_interval(reach.routed[rows], rng)
        # Where the dearest alone was asked, nobody knows what the others would have reached.
        rest = rows[np.isfinite(reach.without[rows])]
        without, without_interval = (
            _mean_interval(reach.without[rest], rng)
            if len(rest) >= FEWEST_ROWS
            else (np.nan, (np.nan, np.nan))
        )
        lost = float(np.mean(reach.routed[rest])) - without if len(rest) else np.nan
        share = float((asked == region).mean())
        chance = float(outcomes.chance[rows].mean())
        if interval[1] < level - margin:
            kind: Kind = "no expert"
            worth = share * (level - reached) * (1 - chance)
            usd = np.nan if score_price_usd is None else worth * score_price_usd * QUERIES_PRICED
        elif without_interval[1] < level - margin and lost > 0:
            kind = "only the dearest"
            worth = share * lost * (1 - chance)
            usd = share * float((reach.spent[rest] - reach.spent_without[rest]).mean()) * QUERIES_PRICED
        else:
            continue
        single = np.nanmean(reach.above_chance[rows], axis=0)
        best = int(np.nanargmax(single))
        found.append(
            Gap(
                region=region,
                name=regions.names[region],
                domains=regions.domains[region],
                words=regions.words[region],
                kind=kind,
                questions=len(rows),
                traffic_share=float(share),
                reached=reached,
                interval=interval,
                best_expert=reach.experts[best],
                best_score=float(single[best]),
                accuracy_worth=float(worth),
                usd_worth=float(usd),
                stability=0.0,
                example_ids=tuple(str(i) for i in outcomes.question_ids[regions.typical[region]]),
            )
        )
    return found


def _mean_interval(
    values: NDArray[np.float64], rng: np.random.Generator
) -> tuple[float, tuple[float, float]]:
    means = values[rng.integers(0, len(values), (400, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), (float(low), float(high))
