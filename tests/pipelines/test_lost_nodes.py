"""What a run of answers makes of nodes that are lost, by a clock and nodes of the test's own."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts import ExpertSpec
from experts.eligibility.nodes import Cluster, ClusterNode
from pipelines.answering import holding
from pipelines.answering.holding import LOST_NODE_WAIT_S, LostNodeError, NodeWatch, check_holdable
from warehouse import CannotRunError

PRICE = {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1}


def expert(name: str = "two", **resources: Any) -> ExpertSpec:
    fields = {"name": name, "backend": "openai", "model": "m", "price": PRICE, "resources": resources}
    return ExpertSpec.model_validate(fields)


def node(name: str, **labels: str) -> ClusterNode:
    return ClusterNode(f"10.0.0.{name}", {"CPU": 4.0}, labels, name)


class World:
    """A cluster whose nodes come and go by a clock that the test sets."""

    def __init__(self, *nodes: ClusterNode) -> None:
        self.now, self.nodes, self.can_grow = 0.0, nodes, False

    def look(self) -> Cluster:
        return Cluster(tuple(self.nodes), self.can_grow)

    def watch(self, spec: ExpertSpec) -> NodeWatch:
        return NodeWatch(spec, self.look, lambda: self.now)


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "_told", set())


def test_what_no_node_can_hold_is_refused_in_one_line() -> None:
    world = World(node("1"), node("2", zone="x"))
    check_holdable([expert(node_labels={"zone": "x"}), expert()], world.look)
    with pytest.raises(CannotRunError) as refused:
        check_holdable([expert(), expert("big", num_gpus=8, node_labels={"zone": "x"})], world.look)
    assert str(refused.value) == (
        "expert 'big': no node can hold it: it takes 1 CPUs, 8 GPUs, a label zone=x, and the nodes are"
        " 10.0.0.1 (4 CPUs, 0 GPUs), 10.0.0.2 (4 CPUs, 0 GPUs, zone=x). To fix it: start such a node, or"
        " change its `resources:` in the catalogue"
    )
    world.can_grow = True
    check_holdable([expert("big", num_gpus=8)], world.look)


@given(away=st.lists(st.floats(0, 2 * LOST_NODE_WAIT_S), min_size=1, max_size=6), step_s=st.floats(0.1, 5))
@settings(max_examples=60, deadline=None)
def test_a_run_ends_once_its_node_is_away_for_long_and_not_before(away: list[float], step_s: float) -> None:
    there, gone = (node("1"), node("2", zone="x")), (node("1"),)
    world = World(*there)
    watch = world.watch(expert(node_labels={"zone": "x"}))
    watch.on_execution_step(None)
    for length_s in away:
        world.nodes, began = gone, world.now
        ended = step_until(world, watch, began + length_s, step_s)
        if ended is not None:
            assert world.now - began >= LOST_NODE_WAIT_S
            assert "its node was lost" in str(ended)
            return
        assert length_s <= LOST_NODE_WAIT_S + 20
        world.nodes = there
        assert step_until(world, watch, world.now + 10, step_s) is None


def step_until(world: World, watch: NodeWatch, until: float, step_s: float) -> LostNodeError | None:
    while world.now < until:
        world.now += step_s
        try:
            watch.on_execution_step(None)
        except LostNodeError as error:
            return error
    return None


def test_where_an_autoscaler_may_bring_a_node_a_run_waits() -> None:
    world = World(node("1"), node("2", zone="x"))
    watch = world.watch(expert(node_labels={"zone": "x"}))
    watch.on_execution_step(None)
    world.nodes, world.can_grow = (node("1"),), True
    for _ in range(100):
        world.now += LOST_NODE_WAIT_S
        watch.on_execution_step(None)


def test_the_loss_of_a_node_is_told_once_by_all_experts_together(caplog: pytest.LogCaptureFixture) -> None:
    world = World(node("1"), node("2"), node("3"))
    watches = [world.watch(expert(name)) for name in ("one", "two")]
    with caplog.at_level(logging.WARNING):
        for nodes in ((1, 2, 3), (1, 3), (1, 3), (1,)):
            world.nodes = tuple(node(str(number)) for number in nodes)
            world.now += 10
            for watch in watches:
                watch.on_execution_step(None)
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "node 10.0.0.2",
        "node 10.0.0.3",
    ]


@given(lost_at=st.floats(0, 20, exclude_min=True), left_s=st.floats(0, 20), step_s=st.floats(0.05, 5))
@settings(max_examples=60, deadline=None)
def test_a_loss_is_told_however_soon_after_it_the_run_ends(
    lost_at: float, left_s: float, step_s: float
) -> None:
    holding._told.clear()
    world, told = World(node("1"), node("2")), []
    watch = world.watch(expert())
    watch.on_execution_step(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holding._log, "warning", lambda text, *values: told.append(text % values))
        assert step_until(world, watch, lost_at, step_s) is None
        world.nodes = (node("1"), node("3"))  # its successor is there at once
        assert step_until(world, watch, world.now + left_s, step_s) is None
        watch.after_execution_succeeds(None)
    assert [text.split(" (")[0] for text in told] == ["node 10.0.0.2"]
