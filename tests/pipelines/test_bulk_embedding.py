"""Vectors made by Ray Data are those of this process, and training finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.text.registry import EMBEDDERS, load_cached, load_embedder
from pipelines.learning import bulk_embedding
from pipelines.learning.bulk_embedding import Embed, embed_in_bulk

TEXTS = [f"What is {i} times {i % 7}? " + "word " * (i % 11) for i in range(60)]


def here(blocks: Sequence[pa.Table], embedder: str, _: int | None) -> Iterator[pa.Table]:
    """Embed as the processes of a cluster do, in this one; the last block first, as may happen."""
    yield from map(Embed(embedder), reversed(blocks))


@pytest.mark.parametrize("is_local", [True, pytest.param(False, marks=pytest.mark.e2e)])
def test_vectors_made_in_blocks_are_those_made_at_once(
    is_local: bool, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_local:
        monkeypatch.setattr(bulk_embedding, "_embed_blocks", here)
    else:
        request.getfixturevalue("ray_cluster")
    monkeypatch.setattr("orchestrator.text.embedding_cache.SHARD_TEXTS", 16)
    texts = [*TEXTS, TEXTS[0], "x" * 9_000]  # one comes twice, of one both ends are read
    assert embed_in_bulk(texts, "minilm-int8+wordllama", tmp_path, fewest=10, workers=2) == 61
    cached, _ = load_cached("minilm-int8+wordllama", tmp_path)
    assert cached.lacking(TEXTS) == []
    assert len(list(tmp_path.rglob("*.safetensors"))) == 4
    assert np.array_equal(cached.embed(TEXTS[:12]), load_embedder("minilm-int8").embed(TEXTS[:12]))
    assert embed_in_bulk(texts, "minilm-int8+wordllama", tmp_path, fewest=10) == 0


@pytest.mark.parametrize(("embedder", "fewest"), [("wordllama", 1), ("minilm-int8", 61)])
def test_fast_embedders_and_few_texts_need_no_cluster(
    embedder: str, fewest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_embedding, "_embed_blocks", lambda *_: pytest.fail("a cluster was used"))
    assert embed_in_bulk(TEXTS, embedder, tmp_path, fewest=fewest) == 0
    assert embedder in EMBEDDERS
