"""A canary that promotes by itself: asked for, judged by the router's deployment, taken back by a person."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "orchestrator"))

from synthetic import make_outcomes
from traffic_tables import serve_made_traffic

from orchestrator import train_router
from orchestrator.versions.mlflow_registry import champion_version, log_version, rollback, set_champion
from serve.checks import check_settings
from serve.config import ServeConfig
from serve.router import deployment
from serve.router.messages import Query
from warehouse import FEEDBACK, InputError, Warehouse


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_there_has_to_be_a_canary_to_be_judged(tmp_path: Path, share: float) -> None:
    config = ServeConfig(home=tmp_path, canary_share=share, auto_promote=True)
    with pytest.raises(InputError, match=r"--auto.*nothing can be judged"):
        check_settings(config)


def test_the_router_promotes_a_challenger_that_people_like_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before it is asked to, and not twice: after a rollback there is no challenger any more."""
    orchestrator = train_router(make_outcomes(), embedder="wordllama", predictor="cluster").orchestrator
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    old = log_version(orchestrator, tracking_uri=uri)
    set_champion(uri, old)
    new = log_version(orchestrator, tracking_uri=uri)
    store = Warehouse(tmp_path / "warehouse")
    serve_made_traffic(
        store, (old, orchestrator), (new, orchestrator), requests=600, canary_share=0.5, rated_share=0.0
    )
    liked = store.scan("traffic", ["request_id", "role"]).to_pylist()
    ratings = [
        {
            "feedback_id": f"said-{row['request_id']}",
            "request_id": row["request_id"],
            "level": "request",
            "kind": "thumb",
            "score": float(row["role"] == "challenger"),
            "source": "api",
            "created_at": datetime(2030, 1, 2, tzinfo=UTC),
        }
        for row in liked
    ]
    schema = pa.schema([FEEDBACK.field(name) for name in ratings[0]])
    store.append("feedback", pa.Table.from_pylist(ratings, schema), round="serve-2030-01-02")
    monkeypatch.setattr(deployment, "JUDGE_CANARY_S", 0.05)

    async def serve(auto: bool, within_s: float) -> str | None:
        config = ServeConfig(
            home=tmp_path, tracking_uri=uri, canary_share=0.5, auto_promote=auto, poll_champion_s=0.2
        )
        router = deployment.Router(config)
        loop = asyncio.get_running_loop()
        ends = loop.time() + within_s
        while loop.time() < ends:
            await router.decide([Query("What is 3 + 21?")])
            if await router.version() == new:
                break
            await asyncio.sleep(0.05)
        return champion_version(uri)

    assert asyncio.run(serve(auto=False, within_s=1.0)) == old
    assert asyncio.run(serve(auto=True, within_s=60.0)) == new
    assert rollback(uri) == (old, new)
    assert asyncio.run(serve(auto=True, within_s=1.0)) == old
