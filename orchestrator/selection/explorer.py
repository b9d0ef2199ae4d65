"""Spend a budget of answers on the (question, expert) pairs that teach a router most.

Questions fall into regions; the unit of the decision is a cell, one expert in one region. What is known of
a cell comes from three tables of success (by fine region, by coarse region, by domain): their mean is the
estimate, their spread and the sampling error its uncertainty. An answer is worth the expected regret that
it removes from the choice between the cell's expert and its strongest rival, averaged over the prices on
cost that a router may be used at (the knowledge gradient of ranking and selection; Frazier, Powell and
Dayanik 2008).

With standard error s = sigma / sqrt(n) and a margin d between two experts, the expected regret is
s phi(d/s) - d Phi(-d/s), and its derivative in s is phi(d/s). Spending so that a dollar lowers the sum of
regrets equally in every cell gives n in proportion to (questions x phi x sigma / cost) ** (2/3): dear experts
are asked where the choice is open, cheap ones nearly everywhere.

The questions of a region are asked in random order, the same for all experts, so that missing answers are
missing at random. Choosing questions by how other experts answered would bias what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.cluster import success_table
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.value import net_value
from orchestrator.text.queries import Queries
from warehouse import InputError

QUESTIONS_A_REGION = 60
COARSENESS = 4  # fine regions to a coarse one
PRIOR_SCORE, PRIOR_ANSWERS = 0.5, 2.0  # what is held of an expert before its first answer
COMPLETION_STEPS = 6
PRIOR_PAIRS = 50.0  # common answers to which a covariance is shrunk to none
EXPONENT = 2 / 3
MULTIPLIERS = 12  # prices on cost over which the value of an answer is averaged
LEAST_OPEN = 0.1  # a settled cell keeps this share of an open one's weight: estimates may be wrong

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]


def group_questions(queries: Queries, domains: NDArray[np.str_], *, seed: int = 0) -> tuple[Labels, ...]:
    """Label each question [n] with its fine region, its coarse region and its domain, numbered from 0."""
    from sklearn.cluster import MiniBatchKMeans

    fine = int(np.clip(len(queries) // QUESTIONS_A_REGION, 2, 128))
    groupings = [
        MiniBatchKMeans(count, random_state=seed, n_init=1, batch_size=1024).fit_predict(queries.embeddings)
        for count in (min(fine, len(queries)), min(max(fine // COARSENESS, 2), len(queries)))
    ]
    return tuple(_number(labels) for labels in (*groupings, domains))


def choose_pairs(
    groupings: Sequence[Labels],
    score: NDArray[np.floating],
    cost_usd: Floats,
    budget_usd: float,
    *,
    askable: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Return which (question, expert) pairs to ask [n, m]; their expected cost keeps within the budget.

    Args:
        groupings: labels [n] from :func:`group_questions`, the finest first.
        score: [n, m] known scores, NaN where not asked.
        cost_usd: [n, m] expected cost of each answer, no NaN.
        budget_usd: budget.
        askable: [n, m] pairs that may be asked; by default those without a score.
        seed: of the order in which a region's questions are asked.

    Raises:
        InputError: the shapes differ, or the budget is negative or not a number.
    """
    askable = ~np.isfinite(score) if askable is None else askable & ~np.isfinite(score)
    if score.shape != cost_usd.shape or any(len(labels) != len(score) for labels in groupings):
        raise InputError("labels, scores and costs must have the same questions", where="choose_pairs")
    if not budget_usd >= 0:
        raise InputError(f"a budget of {budget_usd} USD", where="choose_pairs", fix="give 0 or more")
    if (cost_usd * askable).sum() <= budget_usd:
        return askable
    order = np.random.default_rng(seed).permutation(len(score))
    groupings = [_number(labels) for labels in groupings]
    fine = groupings[0]
    weight = _answer_weights(groupings, score, cost_usd)  # [regions, m]
    asked, open_pairs = _sum_by(fine, np.isfinite(score)), _sum_by(fine, askable)
    cell_cost = _sum_by(fine, cost_usd * askable) / np.maximum(open_pairs, 1)
    ratio = weight / np.maximum(cell_cost, 1e-300)
    wanted = _spend_evenly(ratio, asked, open_pairs, cell_cost, budget_usd)
    # Rank of each pair among the open ones of its cell, in the common order; whole answers by chance.
    rank = np.empty(score.shape)
    for region in range(len(weight)):
        rows = order[fine[order] == region]
        rank[rows] = np.cumsum(askable[rows], axis=0)
    urgency = rank - wanted[fine]  # below 0: within the cell's share, the lowest first
    candidates = np.flatnonzero((askable & (urgency < 1)).ravel())
    candidates = candidates[np.argsort(urgency.ravel()[candidates], kind="stable")]
    affordable = np.cumsum(cost_usd.ravel()[candidates]) <= budget_usd
    chosen = np.zeros(score.size, bool)
    chosen[candidates[affordable]] = True
    return chosen.reshape(score.shape)


def _answer_weights(groupings: Sequence[Labels], score: NDArray[np.floating], cost_usd: Floats) -> Floats:
    """Value of knowing a cell better [regions, m]: questions x density at the margin x spread of outcomes."""
    success, error = _estimate(groupings, score)
    fine = groupings[0]
    sizes = np.bincount(fine).astype(float)[:, None]
    success, error = _sum_by(fine, success) / sizes, np.sqrt(_sum_by(fine, error**2) / sizes)
    cost = _sum_by(fine, cost_usd) / sizes
    density = np.zeros_like(success)
    grid = find_frontier(success, cost).settings(MULTIPLIERS)
    grid = grid[np.isfinite(grid)]
    regions = np.arange(len(success))
    for multiplier in grid:
        utility = net_value(success, cost, multiplier)
        ranked = np.argsort(-utility, axis=1)
        rival = np.repeat(ranked[:, :1], utility.shape[1], axis=1)
        if utility.shape[1] > 1:
            rival[regions, ranked[:, 0]] = ranked[:, 1]
        margin = utility - np.take_along_axis(utility, rival, axis=1)
        spread = np.sqrt(error**2 + np.take_along_axis(error, rival, axis=1) ** 2)
        density += np.exp(-0.5 * (margin / spread) ** 2) / len(grid)
    weights: Floats = sizes * np.maximum(density, LEAST_OPEN) * np.sqrt(success * (1 - success))
    return weights


def _estimate(groupings: Sequence[Labels], score: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Expected success and its standard error, both [n, m]: tables disagree, and rest on few answers."""
    known = np.isfinite(score)
    total, count = np.where(known, score, 0).sum(axis=0), known.sum(axis=0)
    mean = (total + PRIOR_SCORE * PRIOR_ANSWERS) / (count + PRIOR_ANSWERS)
    tables = []
    for labels in groupings:
        one_hot = np.eye(int(labels.max()) + 1)[labels]
        tables.append(success_table(one_hot, np.asarray(score, np.float32))[labels])
    members = np.where(count > 0, np.stack(tables).astype(np.float64), mean)
    success = np.clip(members.mean(axis=0), 0.02, 0.98)
    answers = _sum_by(groupings[0], known)[groupings[0]]
    error = np.sqrt(members.var(axis=0) + success * (1 - success) / (answers + PRIOR_ANSWERS))
    return success, error


def _spend_evenly(
    ratio: Floats, asked: Floats, open_pairs: Floats, cell_cost: Floats, budget_usd: float
) -> Floats:
    """Answers wanted of each cell: (level x value per dollar) ** (2/3) in all, at the level that the budget
    buys (bisection).
    """

    def wanted_at(log_level: float) -> Floats:
        with np.errstate(over="ignore"):  # infinity is more than there is to ask
            answers: Floats = np.clip((np.exp(log_level) * ratio) ** EXPONENT - asked, 0, open_pairs)
        return answers

    positive = ratio[ratio > 0]
    low, high = -np.log(positive.max()) - 20, -np.log(positive.min()) + 40
    for _ in range(80):
        middle = (low + high) / 2
        if (wanted_at(middle) * cell_cost).sum() > budget_usd:
            high = middle
        else:
            low = middle
    return wanted_at(low)


def _number(labels: NDArray[np.generic]) -> Labels:
    """Number labels from 0 without gaps: k-means may leave a cluster empty."""
    numbers: Labels = np.unique(labels, return_inverse=True)[1].astype(np.intp)
    return numbers


def _sum_by(labels: Labels, values: NDArray[np.generic]) -> Floats:
    """Sum the rows of ``values`` [n, m] by label: [labels, m]."""
    total = np.zeros((int(labels.max()) + 1, values.shape[1]))
    np.add.at(total, labels, values.astype(float))
    return total


def complete_scores(groupings: Sequence[Labels], score: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the scores [n, m] with missing ones replaced by their conditional expectation.

    Expectation maximisation for a Gaussian whose mean is that of the tables and whose covariance between
    experts is that of the known residuals, shrunk: a question that the cheap experts got right is easy for
    the dear one (Little and Rubin, *Statistical Analysis with Missing Data*, chapter 11). Unbiased, up to the
    model, also where an expert was asked because of how others answered.
    """
    known = np.isfinite(score)
    pairs = known.astype(float).T @ known
    both = known[:, :, None] & known[:, None, :]
    lone = np.eye(score.shape[1]) * ~known[:, None, :]
    filled = np.asarray(score, np.float64)
    for _ in range(COMPLETION_STEPS):
        expected, _ = _estimate(groupings, filled)
        residual = np.where(known, score - expected, 0.0)
        moments = residual.T @ residual / np.maximum(pairs, 1)
        covariance = moments * pairs / (pairs + PRIOR_PAIRS)
        np.fill_diagonal(covariance, np.maximum(moments.diagonal(), 0.05))
        values, vectors = np.linalg.eigh(covariance)
        covariance = (vectors * np.maximum(values, 1e-3)) @ vectors.T
        weight = np.linalg.solve(np.where(both, covariance, 0) + lone, residual[:, :, None])[:, :, 0]
        filled = np.where(known, score, np.clip(expected + weight @ covariance, 0, 1))
    return filled.astype(np.float32)
