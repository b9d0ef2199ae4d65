"""Static token embeddings: a lookup and a sum, microseconds a text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from orchestrator.text.embedder import Vectors, WeightsIdentity
from orchestrator.text.mapped_arrays import map_arrays
from orchestrator.text.tokens import tokenise, unit_rows
from orchestrator.text.weights import find_weights, identify_weights

PACKAGE = "wordllama"
TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
TABLE = "weights/l2_supercat_256.safetensors"


class WordLlamaEmbedder:
    """The mean of the token vectors of the WordLlama ``l2_supercat_256`` table."""

    name = "wordllama"
    version = 1
    dim = 256
    widths = (256,)

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        self._files = find_weights(PACKAGE, TOKENIZER, TABLE)
        tokenizer, table = self._files
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._table = map_arrays(table)["embedding.weight"]  # of 16 bits; all processes of a node share it

    @cached_property
    def weights(self) -> tuple[WeightsIdentity, ...]:
        """Table and tokenizer."""
        return (identify_weights(self.name, self.version, PACKAGE, self._files),)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [n, 256]."""
        out = np.zeros((len(texts), self.dim), np.float32)
        last_row = len(self._table) - 1
        for row, ids in enumerate(tokenise(self._tokenizer, texts, add_special_tokens=False)):
            if ids:
                out[row] = self._table[np.minimum(ids, last_row)].astype(np.float32).sum(axis=0)
        return unit_rows(out)
