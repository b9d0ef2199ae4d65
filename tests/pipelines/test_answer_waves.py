from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from experts import ExpertSpec, cpu_memory_gib
from pipelines.answering.stream import _blocks, in_flight_questions
from pipelines.answering.waves import ClusterCapacity, engine_demand, plan_waves, share_engines

ROOM = ClusterCapacity(gpus=4, cores=16, node_cores=8, memory_gib=32)


def expert(name: str, **fields: Any) -> ExpertSpec:
    base: dict[str, Any] = {"name": name, "backend": "vllm", "model": "org/base", "params_b": 1.0}
    base["price"] = {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1}
    return ExpertSpec.model_validate(base | fields)


def test_adapters_and_ways_of_asking_share_an_engine() -> None:
    specs = [
        expert("base"),
        expert("law", lora="adapters/law", engine={"max_lora_rank": 32}),
        expert("by-text", scoring="cloze", max_tokens=8),
        expert("other", model="org/other"),
        expert("longer", context_tokens=8192),
        expert("api", backend="openai"),
        expert("api-2", backend="openai"),
    ]
    names = [[spec.name for spec in group] for group in share_engines(specs)]
    assert names == [["base", "law", "by-text"], ["other"], ["longer"], ["api"], ["api-2"]]


def test_what_fits_runs_together() -> None:
    gpu = {"resources": {"num_gpus": 2}}
    groups = [(expert(f"g{i}", model=f"m{i}", **gpu),) for i in range(3)] + [
        (expert("api", backend="openai"),)
    ]
    waves = plan_waves(groups, lambda group: engine_demand(group, ROOM), ROOM)
    assert [[g[0].name for g in wave] for wave in waves] == [["g0", "g1", "api"], ["g2"]]


def test_engines_on_the_cpu_take_a_machine_each() -> None:
    groups = [(expert(f"c{i}", model=f"m{i}"),) for i in range(3)]
    waves = plan_waves(groups, lambda group: engine_demand(group, ROOM), ROOM)
    assert [len(wave) for wave in waves] == [2, 1]
    one_machine = ClusterCapacity(gpus=0, cores=2, node_cores=2, memory_gib=20)
    waves = plan_waves(groups, lambda group: engine_demand(group, one_machine), one_machine)
    assert [len(wave) for wave in waves] == [1, 1, 1]


def test_memory_keeps_engines_apart() -> None:
    declared = {"resources": {"num_cpus": 2}, "params_b": 3.0, "engine": {"dtype": "float32"}}
    groups = [(expert(f"c{i}", model=f"m{i}", **declared),) for i in range(3)]
    need = cpu_memory_gib(groups[0][0])
    assert need is not None
    assert 12 < need < 16
    waves = plan_waves(groups, lambda group: engine_demand(group, ROOM), ROOM)
    assert [len(wave) for wave in waves] == [2, 1]
    unknown = [(expert("u", model="u", params_b=None, resources={"num_cpus": 2}),), *groups]
    waves = plan_waves(unknown, lambda group: engine_demand(group, ROOM), ROOM)
    assert [g[0].name for g in waves[0]] == ["u"]


def test_too_large_for_the_cluster_gets_a_wave_of_its_own() -> None:
    groups = [(expert("huge", resources={"num_gpus": 8}),), (expert("api", backend="openai"),)]
    waves = plan_waves(groups, lambda group: engine_demand(group, ROOM), ROOM)
    assert [[g[0].name for g in wave] for wave in waves] == [["huge"], ["api"]]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 16)), max_size=12))
def test_every_item_runs_once_and_every_wave_fits(needs: list[tuple[int, int]]) -> None:
    items = list(enumerate(needs))
    waves = plan_waves(items, lambda item: ClusterCapacity(item[1][0], item[1][1], 8, 0), ROOM)
    assert sorted(item for wave in waves for item in wave) == items
    for wave in waves:
        assert sum(need[0] for _, need in wave) <= ROOM.gpus
        assert sum(need[1] for _, need in wave) <= ROOM.cores


def test_blocks_take_turns_and_lose_nothing() -> None:
    todo = {
        "a": pa.table({"question_id": [f"a{i}" for i in range(7)]}),
        "b": pa.table({"question_id": ["b0"]}),
    }
    blocks = _blocks(todo, 3)
    assert [(block["expert"][0].as_py(), block.num_rows) for block in blocks] == [
        ("a", 3), ("b", 1), ("a", 3), ("a", 1),
    ]  # fmt: skip
    assert [i for b in blocks for i in b["question_id"].to_pylist() if i != "b0"] == [
        f"a{i}" for i in range(7)
    ]


def test_the_engine_always_has_more_to_do() -> None:
    assert in_flight_questions([expert("a", engine={"max_num_seqs": 64})]) == 128
    assert in_flight_questions([expert("a")]) == 512
    assert in_flight_questions([expert("a", backend="openai", concurrency=5)]) == 10
