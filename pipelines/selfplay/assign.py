"""Which expert is asked which of a round's questions, for how much money."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from experts.catalogue.pricing import CHARACTERS_PER_TOKEN
from pipelines.selfplay.events import Assigned
from warehouse import Outcomes, router_text

if TYPE_CHECKING:
    from experts import ExpertSpec

CHOICE_TOKENS = 1.0  # of the completion that an option takes


def question_texts(questions: pa.Table) -> list[str]:
    """What the router reads of QUESTIONS rows."""
    pairs = zip(*(questions[name].to_pylist() for name in ("prompt", "choices")), strict=True)
    return [router_text(prompt, choices) for prompt, choices in pairs]


def expect_costs(
    questions: pa.Table, specs: Sequence[ExpertSpec], known: Outcomes | None
) -> NDArray[np.float64]:
    """Expected cost in USD of each answer [n, m]: by the length of the text, at the rate of earlier answers
    where there are some, else at the catalogue's price.
    """
    length = np.array([len(text) for text in question_texts(questions)], float)
    is_choice = np.array([kind == "choice" for kind in questions["kind"].to_pylist()], bool)
    costs = np.empty((len(length), len(specs)))
    known_length = np.array([len(text) for text in known.texts], float) if known else np.empty(0)
    for j, spec in enumerate(specs):
        completion = np.where(is_choice & (spec.scoring != "generate"), CHOICE_TOKENS, float(spec.max_tokens))
        costs[:, j] = spec.price.cost_usd(length / CHARACTERS_PER_TOKEN, completion)
        if known is not None and spec.name in known.experts:
            cost = known.cost_usd[:, known.experts.index(spec.name)]
            seen = np.isfinite(cost)
            if seen.sum() >= 10 and known_length[seen].sum() > 0:
                costs[:, j] = length * cost[seen].sum() / known_length[seen].sum()
    return costs


def assign_questions(
    questions: pa.Table,
    specs: Sequence[ExpertSpec],
    known: Outcomes | None,
    budget_usd: float,
    *,
    embedder: str,
    cache_dir: Path | None,
    seed: int,
) -> dict[str, pa.Table]:
    """Choose by :func:`orchestrator.selection.explorer.choose_pairs`; return each expert's questions.

    Args:
        questions: the round's, none answered yet.
        specs: the experts.
        known: outcomes of earlier questions that may be learned from; None in a first round.
        budget_usd: what the answers may cost, as expected.
        embedder: of the router.
        cache_dir: where embeddings are kept.
        seed: of the order in which questions are taken.
    """
    from orchestrator import load_embedder, read_queries
    from orchestrator.selection.explorer import choose_pairs, group_questions

    costs = expect_costs(questions, specs, known)
    if costs.sum() <= budget_usd:
        return {spec.name: questions for spec in specs}
    texts, domains = question_texts(questions), questions["domain"].to_pylist()
    score = np.full(costs.shape, np.nan)
    askable = np.ones(costs.shape, bool)
    if known is not None:
        columns = [known.experts.index(s.name) if s.name in known.experts else -1 for s in specs]
        earlier = np.where(np.array(columns) >= 0, known.score[:, columns], np.nan)
        mean_cost = np.broadcast_to(costs.mean(axis=0), earlier.shape)
        score, costs = np.vstack([earlier, score]), np.vstack([mean_cost, costs])
        askable = np.vstack([np.zeros(earlier.shape, bool), askable])
        texts, domains = [*known.texts, *texts], [*known.domains.tolist(), *domains]
    queries = read_queries(texts, load_embedder(embedder, cache_dir=cache_dir))
    groupings = group_questions(queries, np.array(domains), seed=seed)
    chosen = choose_pairs(groupings, score, costs, budget_usd, askable=askable, seed=seed)
    chosen = chosen[-questions.num_rows :]
    return {spec.name: questions.filter(pa.array(chosen[:, j])) for j, spec in enumerate(specs)}


def assign(
    questions: pa.Table,
    specs: Sequence[ExpertSpec],
    known: Outcomes | None,
    *,
    round: str,
    explore: float,
    left_usd: float | None,
    embedder: str,
    cache_dir: Path | None,
    seed: int,
) -> Assigned:
    """Settle whom to ask what, for a share of what asking everyone everything costs.

    Args:
        questions: the round's.
        specs: the experts.
        known: outcomes of earlier questions that may be learned from; None in a first round.
        round: its name.
        explore: the share, above 0 and at most 1.
        left_usd: what the round may still spend; None: no limit.
        embedder: of the router.
        cache_dir: where embeddings are kept.
        seed: of the order in which questions are taken.
    """
    expected = expect_costs(questions, specs, known)
    everything = float(expected.sum())
    allowance = min(everything * explore, math.inf if left_usd is None else left_usd)
    chosen = assign_questions(
        questions, specs, known, allowance, embedder=embedder, cache_dir=cache_dir, seed=seed
    )
    pairs = sum(table.num_rows for table in chosen.values())
    ids = {name: tuple(table["question_id"].to_pylist()) for name, table in chosen.items()}
    return Assigned(
        round, min(allowance, everything), everything, expected.size, ids if pairs < expected.size else None
    )


def offer_questions(
    questions: pa.Table, names: Sequence[str], assigned: Mapping[str, Sequence[str]] | None
) -> dict[str, pa.Table]:
    """The rows that each expert is asked, by name: those of the ids that it was assigned, or all."""
    offered = dict.fromkeys(names, questions)
    for name, ids in (assigned or {}).items():
        taken = pc.is_in(questions["question_id"], value_set=pa.array(list(ids), pa.string()))
        offered[name] = questions.filter(taken)
    return offered
