"""Traffic of made-up questions, as an endpoint would have written it down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from synthetic import make_outcomes

from orchestrator.policy import Orchestrator
from orchestrator.selection.exploration import explore
from orchestrator.selection.value import net_value
from orchestrator.text.embedder import weights_key
from orchestrator.text.queries import read_queries
from warehouse import FEEDBACK, TRAFFIC, Warehouse

START = datetime(2030, 1, 1, tzinfo=UTC)


def serve_made_traffic(
    warehouse: Warehouse,
    champion: tuple[str, Orchestrator],
    challenger: tuple[str, Orchestrator] | None = None,
    *,
    requests: int = 600,
    explore_share: float = 0.3,
    canary_share: float = 0.0,
    rated_share: float = 1.0,
    contrary: bool = False,
    seed: int = 7,
) -> None:
    """Serve questions of the synthetic topics, rate the answers, and write traffic and feedback.

    Where people are contrary, they like what is wrong.
    """
    rng = np.random.default_rng(seed)
    outcomes = make_outcomes(requests, seed=seed)
    is_canary = rng.random(requests) < canary_share
    rows, ratings = [], []
    for of, (version, router) in enumerate(one for one in (champion, challenger) if one):
        mine = np.flatnonzero(is_canary == bool(of))
        if not len(mine):
            continue
        queries = read_queries([outcomes.texts[i] for i in mine], router.embedder)
        prediction = router.predictor.predict(queries), router.cost.predict(queries)
        value = net_value(*prediction, router.multiplier)
        chosen, propensity = explore(value, np.ones(value.shape, bool), explore_share, 10.0, rng)
        columns = [outcomes.experts.index(name) for name in router.experts]
        for place, i in enumerate(mine):
            answered = columns[chosen[place]]
            rows.append(
                {
                    "request_id": f"req-{i:05d}",
                    "created_at": START + timedelta(seconds=int(i)),
                    "round": "serve-2030-01-01",
                    "router_version": version,
                    "role": "challenger" if of else "champion",
                    "canary_share": canary_share or None,
                    "canary": bool(of),
                    "multiplier": router.multiplier,
                    "experts": list(router.experts),
                    "predicted_success": prediction[0][place].tolist(),
                    "predicted_cost_usd": prediction[1][place].tolist(),
                    "propensities": propensity[place].tolist(),
                    "explored": bool(chosen[place] != value[place].argmax()),
                    "chosen": router.experts[chosen[place]],
                    "expert": router.experts[chosen[place]],
                    "asked": [],
                    "cost_usd": float(outcomes.cost_usd[i, answered]),
                    "task": str(outcomes.domains[i]),
                    "key_id": f"key-{i % 2}",
                    "text_hash": f"text-{i}",
                    "embedder": weights_key(router.embedder.weights),
                    "embedding": queries.embeddings[place].tolist(),
                    "surface": queries.surface[place].tolist(),
                    "recording": "features",
                }
            )
            if rng.random() < rated_share:
                ratings.append(
                    {
                        "feedback_id": f"said-{i}",
                        "request_id": f"req-{i:05d}",
                        "level": "request",
                        "kind": "score",
                        "score": abs(float(outcomes.score[i, answered]) - contrary),
                        "source": "api",
                        "created_at": START + timedelta(hours=1, seconds=int(i)),
                    }
                )
    _append(warehouse, "traffic", TRAFFIC, rows)
    _append(warehouse, "feedback", FEEDBACK, ratings)


def _append(warehouse: Warehouse, table: str, schema: pa.Schema, rows: list[dict[str, object]]) -> None:
    if rows:
        part = pa.schema([schema.field(name) for name in rows[0]])
        warehouse.append(table, pa.Table.from_pylist(rows, part), round="serve-2030-01-01")
