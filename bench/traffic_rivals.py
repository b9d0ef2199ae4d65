"""Contextual bandits of MABWiser (Strong, Kleynhans and Kadioglu 2019) on the same stream and the same users.

They know the questions that our router was trained on as well as it does: every expert's score on each is in
their history. On the stream they learn from users' feedback, as it is given.
"""

from __future__ import annotations

import numpy as np

from bench.traffic_arms import BLOCK, Recorder, Track
from bench.traffic_people import FEEDBACK_SHARE, Desk
from bench.traffic_world import World
from orchestrator.predictors.knn import principal_axes
from orchestrator.text.queries import Queries

COMPONENTS = 32
ALPHA = 0.5  # of LinUCB and of Thompson sampling


def serve_bandit(world: World, multiplier: float, seed: int, policy: str, *, warm: bool = True) -> Track:
    """Serve with "LinUCB" or "LinTS"; ``warm`` starts from the outcomes that the router was trained on."""
    from mabwiser.mab import MAB, LearningPolicy

    kinds = {"LinUCB": LearningPolicy.LinUCB, "LinTS": LearningPolicy.LinTS}
    arms, price = list(range(len(world.price_usd))), world.price_usd
    bandit = MAB(arms, kinds[policy](alpha=ALPHA), seed=seed)
    read = _reader(world.known.queries)
    score = world.known.outcomes.score
    context = read(world.known.queries)
    rows = np.arange(len(score)) if warm else np.arange(2)
    bandit.fit(
        decisions=np.tile(arms, len(rows)),
        rewards=(score[rows] - multiplier * price).ravel(),
        contexts=np.repeat(context[rows], len(arms), axis=0),
    )
    rng, desk = np.random.default_rng([seed, 3]), Desk(np.random.default_rng([seed, 2]))
    blocks = len(world.score) // BLOCK
    recorder = Recorder(world, blocks)
    held_out = read(world.held_out)
    for b in range(blocks):
        at = np.arange(b * BLOCK, (b + 1) * BLOCK)
        context = read(world.queries.take(at))
        chosen = np.array(bandit.predict(context), np.intp)
        shown = np.eye(len(arms))[np.array(bandit.predict(held_out), np.intp)]
        recorder.note(b, shown, float(price[chosen].sum()), 0.0)
        told = np.flatnonzero(rng.random(BLOCK) < FEEDBACK_SHARE)
        since = len(desk.label)
        desk.hear(at[told], chosen[told], world.score[at[told], chosen[told]], 0, np.ones(len(told)))
        if len(told):
            rewards = np.array(desk.label[since:]) - multiplier * price[chosen[told]]
            bandit.partial_fit(chosen[told], rewards, context[told])
    return recorder.track(len(desk.label))


def _reader(known: Queries):
    """Contexts [n, 1 + s + COMPONENTS]: a constant, the surface, leading components; about unit size."""
    centre = known.embeddings.mean(axis=0)
    axes = principal_axes(known.embeddings - centre, COMPONENTS)
    reach = ((known.embeddings - centre) @ axes.T).std(axis=0).max()
    mean, deviation = known.surface.mean(axis=0), known.surface.std(axis=0)

    def read(queries: Queries) -> np.ndarray:
        surface = np.clip((queries.surface - mean) / np.maximum(deviation, 1e-6), -3, 3) / 3
        places = (queries.embeddings - centre) @ axes.T / reach
        return np.hstack([np.ones((len(queries), 1)), surface, places]).astype(np.float64)

    return read
