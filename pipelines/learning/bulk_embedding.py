"""Embedding many texts before training, by Ray Data on all nodes; the vectors go into the home's cache."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.ray_noise import quieten_ray_data
from pipelines.ray_session import ray_session

#: With fewer texts to embed, the processes of a cluster start for longer than they work.
BULK_TEXTS = 20_000


class Embed:
    """An embedder in a process of its own."""

    def __init__(self, name: str) -> None:
        from orchestrator.text.registry import load_embedder

        self._embedder = load_embedder(name)

    def __call__(self, texts: pa.Table) -> pa.Table:
        """Return the texts with their vectors."""
        vectors = self._embedder.embed(texts["text"].to_pylist())
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        return texts.append_column("vector", column)


def embed_in_bulk(
    texts: Sequence[str],
    embedder: str,
    cache_dir: Path,
    *,
    fewest: int = BULK_TEXTS,
    workers: int | None = None,
) -> int:
    """Embed on the cluster what the cache lacks, so that training finds it there; return how many texts.

    The vectors are to the bit those of this process. They arrive in blocks, and each block is kept as it
    arrives: a run that was stopped goes on. Static embedders are left alone: they are as fast as the sending.

    Args:
        texts: what a router reads.
        embedder: name for :func:`orchestrator.load_embedder`.
        cache_dir: of the home.
        fewest: with fewer texts to embed nothing is done here.
        workers: processes; by default as many as the cluster has CPUs.
    """
    from orchestrator.text.embedding_cache import SHARD_TEXTS
    from orchestrator.text.queries import take_ends
    from orchestrator.text.registry import is_static, load_cached

    if len(texts) < fewest:
        return 0
    done = 0
    read = [take_ends(text) for text in texts]
    for part, cached in zip(embedder.split("+"), load_cached(embedder, cache_dir), strict=True):
        if is_static(part) or len(lacking := cached.lacking(read)) < max(fewest, 1):
            continue
        blocks = [
            pa.table({"text": lacking[start : start + SHARD_TEXTS]})
            for start in range(0, len(lacking), SHARD_TEXTS)
        ]
        for block in _embed_blocks(blocks, part, workers):
            vectors = block["vector"].combine_chunks().flatten().to_numpy().reshape(block.num_rows, -1)
            cached.keep(block["text"].to_pylist(), np.ascontiguousarray(vectors, np.float32))
        done += len(lacking)
    return done


def _embed_blocks(blocks: Sequence[pa.Table], embedder: str, workers: int | None) -> Iterator[pa.Table]:
    """Yield the blocks with their vectors, each as soon as it is there."""
    import ray

    with ray_session(), warnings.catch_warnings():
        quieten_ray_data()
        warnings.filterwarnings("ignore", message=".*ray_remote_args")
        # A small cluster of one machine counts more CPUs than there are.
        there = min(ray.cluster_resources().get("CPU", 1), len(ray.nodes()) * (os.cpu_count() or 1))
        most = workers or max(1, int(there))
        yield from (
            ray.data.from_blocks(list(blocks))
            .map_batches(
                Embed,
                fn_constructor_args=(embedder,),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(blocks))),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=1,
            )
            .iter_batches(batch_size=None, batch_format="pyarrow")
        )
