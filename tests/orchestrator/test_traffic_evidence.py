"""Traffic read from a warehouse, decided on again by versions, and what it says of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from synthetic import make_outcomes
from traffic_tables import START, serve_made_traffic

from orchestrator import Orchestrator, train_router
from orchestrator.off_policy.canary import canary_log
from orchestrator.off_policy.evidence import weigh_traffic
from orchestrator.off_policy.policies import policies_of
from orchestrator.off_policy.read import read_traffic
from orchestrator.off_policy.sequential import CanaryDecision, CanaryRule
from orchestrator.versions.canary_watch import CanaryEnd, end_canary
from orchestrator.versions.gate_record import held_out_said, record_gate
from orchestrator.versions.mlflow_registry import (
    champion_version,
    log_version,
    rollback,
    set_champion,
    versions,
)
from orchestrator.versions.promotion import challenge_champion
from warehouse import FEEDBACK, InputError, NotReadyError, Outcomes, Warehouse


@pytest.fixture(scope="module")
def orchestrator(orchestrator: Orchestrator) -> Orchestrator:
    """At a price on cost at which no expert is out of reach of exploring, whatever training found."""
    return replace(orchestrator, multiplier=1.0)


@pytest.fixture(scope="module")
def blind() -> Orchestrator:
    """A router that learned of another world: topics say nothing there."""
    outcomes = make_outcomes(missing=0.1)
    rng = np.random.default_rng(0)
    shuffled = outcomes.score.copy()
    for column in shuffled.T:
        rng.shuffle(column)
    router = train_router(replace(outcomes, score=shuffled), embedder="wordllama").orchestrator
    return replace(router, multiplier=1.0)


def test_rows_come_as_they_were_served(tmp_path: Path, orchestrator: Orchestrator) -> None:
    store = Warehouse(tmp_path)
    with pytest.raises(NotReadyError, match="no routed request was recorded"):
        read_traffic(store)
    serve_made_traffic(store, ("1", orchestrator), requests=200, rated_share=0.5)
    logged = read_traffic(store, experts=("newcomer",))
    assert len(logged) == 200
    assert 60 < logged.rated.sum() < 140
    assert logged.experts == (*sorted(orchestrator.experts), "newcomer")
    assert logged.allowed.all()
    assert (logged.propensity[:, -1] == 0).all()
    assert np.isfinite(logged.success_hat[:, :-1]).all()
    assert len(read_traffic(store, most=50)) == 50
    assert len(read_traffic(store, since=START + timedelta(seconds=150))) == 50
    with pytest.raises(InputError, match="unknown ratings"):
        read_traffic(store, ratings="mine")


def test_the_last_word_of_an_author_counts_and_authors_are_averaged(
    tmp_path: Path, orchestrator: Orchestrator
) -> None:
    store = Warehouse(tmp_path)
    serve_made_traffic(store, ("1", orchestrator), requests=3, rated_share=0.0)
    said = [("a", "req-00000", 0.0, 1), ("a", "req-00000", 0.5, 2), ("b", "req-00000", 1.0, 0)]
    rows = [
        {
            "feedback_id": f"said-{place}",
            "request_id": request,
            "key_id": author,
            "level": "request",
            "kind": "score",
            "score": score,
            "source": "api",
            "created_at": START + timedelta(hours=hour),
        }
        for place, (author, request, score, hour) in enumerate(said)
    ]
    schema = pa.schema([FEEDBACK.field(name) for name in rows[0]])
    store.append("feedback", pa.Table.from_pylist(rows, schema), round="serve-2030-01-01")
    reward = read_traffic(store).reward
    assert reward[0] == pytest.approx(0.75)
    assert np.isnan(reward[1:]).all()


def test_a_version_decides_as_it_would_have(
    tmp_path: Path, orchestrator: Orchestrator, blind: Orchestrator
) -> None:
    """Read again from recorded embeddings, another version's choices are those it makes of the texts."""
    store = Warehouse(tmp_path)
    serve_made_traffic(store, ("1", orchestrator), requests=100)
    found = policies_of(read_traffic(store), {"1": orchestrator, "2": blind})
    assert found.unread == 0
    texts = make_outcomes(100, seed=7).texts
    for version, router in (("1", orchestrator), ("2", blind)):
        chosen = [decision.expert for decision in router.decide(texts)]
        columns = found.probability[version].argmax(axis=1)
        assert [found.logged.experts[place] for place in columns] == chosen


def test_the_traffic_tells_a_blind_challenger_from_the_champion(
    tmp_path: Path, orchestrator: Orchestrator, blind: Orchestrator
) -> None:
    store = Warehouse(tmp_path)
    serve_made_traffic(store, ("1", orchestrator), requests=3000, explore_share=0.4)
    logged = read_traffic(store)
    down = weigh_traffic(logged, ("2", blind), ("1", orchestrator))
    up = weigh_traffic(logged, ("1", orchestrator), ("2", blind))
    assert down.canary is None
    assert (down.is_worse, down.is_better) == (True, False)
    assert (up.is_worse, up.is_better) == (False, True)
    assert "estimated from what was explored" in str(down)
    assert down.figures()["traffic_value_high"] < 0


def test_without_exploring_the_traffic_says_so(
    tmp_path: Path, orchestrator: Orchestrator, blind: Orchestrator
) -> None:
    store = Warehouse(tmp_path)
    serve_made_traffic(store, ("1", orchestrator), requests=100, explore_share=0.0)
    found = weigh_traffic(read_traffic(store), ("2", blind), ("1", orchestrator))
    assert found.value is None
    assert not found.is_better
    assert not found.is_worse
    assert "no request was routed at random" in str(found)


def test_a_canary_counts_where_it_has_enough_units(
    tmp_path: Path, orchestrator: Orchestrator, blind: Orchestrator
) -> None:
    store = Warehouse(tmp_path)
    serve_made_traffic(
        store, ("1", orchestrator), ("2", blind), requests=4000, canary_share=0.5, explore_share=0.0
    )
    logged = read_traffic(store)
    log = canary_log(logged, "2", "1")
    assert 1900 < log.challenger.sum() < 2100
    found = weigh_traffic(logged, ("2", blind), ("1", orchestrator))
    assert found.canary is not None
    assert found.is_worse
    assert "by the canary" in str(found)


def test_turns_of_a_conversation_are_one_unit(tmp_path: Path, orchestrator: Orchestrator) -> None:
    store = Warehouse(tmp_path)
    serve_made_traffic(store, ("1", orchestrator), ("2", orchestrator), requests=100, canary_share=0.5)
    logged = read_traffic(store)
    repeated = replace(logged, unit=np.arange(100) // 10)
    assert len(canary_log(repeated, "2", "1").challenger) <= 10
    assert len(canary_log(logged, "3", "1").challenger) == 0


def test_the_gate_hears_held_out_questions_and_traffic(
    tmp_path: Path, orchestrator: Orchestrator, blind: Orchestrator, outcomes: Outcomes
) -> None:
    """One has to be won, none lost; what was found stands in MLflow."""
    registry = f"sqlite:///{tmp_path / 'mlflow.db'}"
    old = log_version(blind, tracking_uri=registry)
    new = log_version(orchestrator, tracking_uri=registry)
    set_champion(registry, old)
    kinds = {"agreeing": False, "contrary": True}
    stores = {name: Warehouse(tmp_path / name) for name in (*kinds, "silent")}
    for name, contrary in kinds.items():
        serve_made_traffic(stores[name], (old, blind), requests=2000, explore_share=0.5, contrary=contrary)

    refused = challenge_champion(registry, new, outcomes, traffic=stores["contrary"])
    assert not refused.promoted
    assert refused.test is not None
    assert refused.test.startswith("+")
    assert "points of value" in str(refused.traffic)
    (kept,) = [one for one in versions(registry) if one.version == new]
    assert kept.metrics["gate_aiq_low"] > 0
    assert kept.metrics["traffic_value_high"] < 0
    assert held_out_said(registry, new, old) == "better"
    assert held_out_said(registry, new, "99") is None

    few = outcomes.take(np.arange(30))
    untested = challenge_champion(registry, new, few, traffic=stores["silent"])
    assert (untested.promoted, untested.test, untested.traffic) == (False, None, None)
    by_traffic = challenge_champion(registry, new, few, traffic=stores["agreeing"])
    assert by_traffic.promoted
    assert not by_traffic.forced
    assert champion_version(registry) == new


def test_a_canary_ends_by_itself(tmp_path: Path, orchestrator: Orchestrator, blind: Orchestrator) -> None:
    """Promoted, stopped or left alone; a person's rollback is the last word; held-out questions may
    object.
    """
    registry = f"sqlite:///{tmp_path / 'mlflow.db'}"
    old = log_version(blind, tracking_uri=registry)
    set_champion(registry, old)
    new = log_version(orchestrator, tracking_uri=registry)
    store, silent = Warehouse(tmp_path / "good"), Warehouse(tmp_path / "silent")
    serve_made_traffic(store, (old, blind), (new, orchestrator), requests=4000, canary_share=0.5)
    rule = CanaryRule(1.0)

    def end(where: Warehouse) -> CanaryEnd | None:
        return end_canary(registry, where, challenger=new, champion=old, rule=rule)

    assert end(silent) is None
    record_gate(registry, new, against=old, held_out=(-0.1, -0.2, -0.05))
    objected = end(store)
    assert objected is not None
    assert (objected.done, champion_version(registry)) == (CanaryDecision.GO_ON, old)
    record_gate(registry, new, against=old, held_out=(0.1, -0.2, 0.4))
    promoted = end(store)
    assert promoted is not None
    assert (promoted.done, champion_version(registry)) == (CanaryDecision.PROMOTE, new)
    assert versions(registry)[0].note.startswith(f"promote by its canary against version {old}")
    assert versions(registry)[0].metrics["traffic_value_low"] > 0
    again = end(store)
    assert again is not None
    assert again.done == CanaryDecision.GO_ON  # the champion has changed
    assert rollback(registry) == (old, new)

    bad, dull = Warehouse(tmp_path / "bad"), log_version(blind, tracking_uri=registry)
    set_champion(registry, new)
    serve_made_traffic(bad, (new, orchestrator), (dull, blind), requests=4000, canary_share=0.5)
    stopped = end_canary(registry, bad, challenger=dull, champion=new, rule=rule)
    assert stopped is not None
    assert stopped.done == CanaryDecision.STOP
    assert champion_version(registry) == new
    assert not any("challenger" in one.aliases for one in versions(registry))


def test_what_was_drawn_for_the_challenger_counts_as_its_own(
    tmp_path: Path, orchestrator: Orchestrator
) -> None:
    """A challenger that cannot decide on some texts leaves them to the champion: they were drawn all the
    same.
    """
    store = Warehouse(tmp_path)
    serve_made_traffic(store, ("1", orchestrator), ("2", orchestrator), requests=400, canary_share=0.5)
    logged = read_traffic(store, with_vectors=False)
    assert logged.requests is not None
    fell_back = logged.requests.canary & (np.arange(400) % 4 == 3)
    fallen = replace(
        logged.requests,
        role=np.where(fell_back, "champion", logged.requests.role),
        router_version=np.where(fell_back, "1", logged.requests.router_version),
    )
    log = canary_log(replace(logged, requests=fallen), "2", "1")
    assert log.challenger.sum() == pytest.approx(canary_log(logged, "2", "1").challenger.sum(), abs=4)
    assert set(log.share) == {0.5}
