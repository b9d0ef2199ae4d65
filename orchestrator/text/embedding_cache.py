"""Vectors kept on disk, so that no text is embedded twice with the same weights."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orchestrator.text.embedder import Embedder, Vectors, weights_key

SHARD_TEXTS = 2048  # kept at a time: what a stopped run may have to embed again


class CachedEmbedder:
    """Keeps the vectors of one embedder by the hash of the text.

    Under ``directory/<name>-<version>-<checksum of its weights>/`` lie safetensors shards of ``keys``
    (uint8 [n, 16]) and ``vectors`` (float32 [n, d]), written beside and renamed: a killed run leaves whole
    shards only. Other weights look into another folder.
    """

    def __init__(self, embedder: Embedder, directory: Path) -> None:
        self._embedder = embedder
        self.name = embedder.name
        self.dim = embedder.dim
        self.widths = embedder.widths
        self.weights = embedder.weights
        self._directory = directory / weights_key(self.weights)
        self._vectors: dict[bytes, Vectors] = {}
        self._shards_read: set[str] = set()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [n, d], computing only what the cache lacks."""
        lacking = self.lacking(texts)
        for start in range(0, len(lacking), SHARD_TEXTS):
            some = lacking[start : start + SHARD_TEXTS]
            self.keep(some, self._embedder.embed(some))
        return (
            np.stack([self._vectors[_key(text)] for text in texts])
            if texts
            else np.zeros((0, self.dim), np.float32)
        )

    def lacking(self, texts: Sequence[str]) -> list[str]:
        """Return the texts of which no vector is kept, each once."""
        self._read_new_shards()
        return list({key: text for text in texts if (key := _key(text)) not in self._vectors}.values())

    def keep(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Keep the vectors [n, d] of texts, which this embedder's weights have given elsewhere or here."""
        keys = [_key(text) for text in texts]
        self._vectors.update(zip(keys, vectors, strict=True))
        self._write_shard(keys, vectors)

    def _read_new_shards(self) -> None:
        from safetensors.numpy import load_file

        for path in sorted(self._directory.glob("*.safetensors")):
            if path.name not in self._shards_read:
                shard = load_file(path)
                keys = (row.tobytes() for row in shard["keys"])
                self._vectors.update(zip(keys, shard["vectors"], strict=True))
                self._shards_read.add(path.name)

    def _write_shard(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        from safetensors.numpy import save_file

        self._directory.mkdir(parents=True, exist_ok=True)
        name = f"{hashlib.sha256(b''.join(keys)).hexdigest()[:16]}.safetensors"
        handle, beside = tempfile.mkstemp(dir=self._directory, suffix=".part")
        os.close(handle)
        packed = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), 16)
        save_file({"keys": packed.copy(), "vectors": np.ascontiguousarray(vectors)}, beside)
        os.replace(beside, self._directory / name)
        self._shards_read.add(name)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]
