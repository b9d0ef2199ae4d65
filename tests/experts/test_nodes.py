"""Which nodes can hold an expert."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from experts.catalogue.spec import Resources
from experts.eligibility.nodes import Cluster, ClusterNode, can_hold, has_labels

NAMES, VALUES = ("region", "spot"), ("eu", "us", "true")
LABELS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES))
SELECTORS = st.builds(
    lambda no, values, several: f"{'!' * no}in({', '.join(values)})" if several else f"{'!' * no}{values[0]}",
    st.booleans(),
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=3, unique=True),
    st.booleans(),
)
RESOURCES = st.builds(
    Resources,
    num_cpus=st.integers(0, 4),
    num_gpus=st.integers(0, 2),
    accelerator_type=st.sampled_from([None, "L4", "H100"]),
    node_labels=st.dictionaries(st.sampled_from(NAMES), SELECTORS),
)
NODES = st.builds(
    lambda cpus, gpus, kind, labels: ClusterNode(
        "10.0.0.1", {"CPU": cpus, "GPU": gpus} | ({f"accelerator_type:{kind}": 1.0} if kind else {}), labels
    ),
    st.integers(0, 4),
    st.integers(0, 2),
    st.sampled_from([None, "L4", "H100"]),
    LABELS,
)


def as_ray_reads(value: str | None, selector: str) -> bool:
    """By Ray's documentation of label selectors, word by word."""
    is_not = selector.startswith("!")
    words = selector.removeprefix("!").removeprefix("in(").removesuffix(")")
    return (value in words.split(", ")) != is_not


@given(LABELS, st.dictionaries(st.sampled_from(NAMES), SELECTORS))
def test_labels_are_compared_as_ray_compares_them(labels: dict[str, str], wanted: dict[str, str]) -> None:
    expected = all(as_ray_reads(labels.get(name), selector) for name, selector in wanted.items())
    assert has_labels(labels, wanted) == expected


@given(st.lists(NODES, max_size=4), RESOURCES)
def test_a_cluster_can_hold_what_one_of_its_nodes_can(nodes: list[ClusterNode], needs: Resources) -> None:
    why = Cluster(tuple(nodes)).why_never(needs)
    assert (why is None) == any(can_hold(node, needs) for node in nodes)
    assert Cluster(tuple(nodes), can_grow=True).why_never(needs) is None
    if why is not None:
        assert "\n" not in why
        assert all(str(node) in why for node in nodes)
        assert all(name in why for name in needs.node_labels)


@given(NODES, RESOURCES, st.sampled_from(["num_cpus", "num_gpus"]))
def test_a_node_with_less_than_is_wanted_holds_nothing(
    node: ClusterNode, needs: Resources, what: str
) -> None:
    name = what.removeprefix("num_").upper().removesuffix("S")
    more: dict[str, Any] = {what: node.resources[name] + 0.5}
    assert not can_hold(node, needs.model_copy(update=more))
