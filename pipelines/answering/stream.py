"""One Ray Data run: blocks of open questions go to the actors of experts that share an engine."""

from __future__ import annotations

import math
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.answering.actor import EXPERT_COLUMN, ExpertActor
from pipelines.answering.driver_watch import this_driver
from pipelines.answering.holding import NodeWatch
from pipelines.ray_noise import quieten_ray_data
from warehouse import Warehouse

if TYPE_CHECKING:
    from experts import ExpertSpec

#: Times that Ray starts an expert's actor again (killed, out of memory) before the expert is given up.
ACTOR_RESTARTS = 3


@dataclass(frozen=True)
class Work:
    """What all experts of a run have in common."""

    warehouse: Warehouse
    round: str
    run_id: str
    batch_questions: int
    cap: Any  # handle of the spend cap's actor
    session: str = field(default_factory=lambda: uuid.uuid4().hex)  # no other run of answers has the same


def stream_receipts(
    work: Work, specs: Sequence[ExpertSpec], todo: Mapping[str, pa.Table]
) -> Iterator[dict[str, Any]]:
    """Yield the receipt of each block as soon as it is stored; see :meth:`ExpertActor.__call__`.

    Args:
        work: what all experts of the run have in common.
        specs: experts that share an engine.
        todo: by expert's name, the questions to ask it (QUESTIONS rows, one at least).
    """
    import ray

    from experts.backends.registry import kind_of

    quieten_ray_data()
    blocks = _blocks(todo, work.batch_questions)
    resources = specs[0].resources
    actor_options: dict[str, Any] = {}
    kind = kind_of(specs[0])
    if env := kind.env(specs[0]):  # others can do with a process that is there already
        actor_options["runtime_env"] = {"env_vars": env}
    if resources.accelerator_type:
        actor_options["accelerator_type"] = resources.accelerator_type
    if resources.node_labels:
        actor_options["label_selector"] = resources.node_labels
    replicas = min(kind.most_replicas(specs[0]), len(blocks))
    # Enough blocks for the engine, and not so many that one replica takes those of the others.
    calls = math.ceil(min(in_flight_questions(specs) / work.batch_questions, len(blocks) / replicas))
    with warnings.catch_warnings():
        # Ray has no other name for the limit of restarts yet, and announces that this one will go.
        warnings.filterwarnings("ignore", message=".*ray_remote_args")
        # Not `from_arrow`: it asks for the size of each block in a task, and Ray starts a worker for each of
        # these, two seconds of CPU a worker just when the engine starts.
        receipts = ray.data.from_blocks(blocks).map_batches(
            ExpertActor,
            fn_constructor_kwargs={
                "specs": specs,
                "warehouse_url": work.warehouse.url,
                "round": work.round,
                "run_id": work.run_id,
                "driver": this_driver(),
                "cap": work.cap,
                "session": work.session if kind.is_paid else None,
            },
            compute=ray.data.ActorPoolStrategy(
                min_size=min(max(resources.replicas_min, 1), replicas),
                max_size=replicas,
                max_concurrent_calls_per_actor=calls,
                enable_true_multi_threading=True,  # the engine takes requests from all of them at once
            ),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=resources.num_cpus,
            num_gpus=resources.num_gpus or None,
            max_restarts=ACTOR_RESTARTS,
            **actor_options,
        )
    # Or each block that waits for the engine has a thread that looks at the memory every second.
    receipts.context.memory_usage_poll_interval_s = None
    receipts.context.custom_execution_callback_classes = [partial(NodeWatch, specs[0])]
    yield from receipts.iter_rows()


def in_flight_questions(specs: Sequence[ExpertSpec]) -> int:
    """Questions that an actor holds at once: twice what its engine runs, so that it never lacks work."""
    from experts.backends.registry import kind_of

    return 2 * kind_of(specs[0]).in_flight(specs[0])


def _blocks(todo: Mapping[str, pa.Table], batch_questions: int) -> list[pa.Table]:
    """Cut the open questions into blocks of one expert each, the experts in turn."""
    by_expert = [
        [
            rows.slice(start, batch_questions).append_column(
                EXPERT_COLUMN, pa.repeat(name, min(batch_questions, rows.num_rows - start))
            )
            for start in range(0, rows.num_rows, batch_questions)
        ]
        for name, rows in todo.items()
    ]
    longest = max(map(len, by_expert))
    return [blocks[i] for i in range(longest) for blocks in by_expert if i < len(blocks)]
