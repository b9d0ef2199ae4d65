"""Static token embeddings: a lookup and a sum, microseconds a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from orchestrator.text.embedder import Vectors, WeightsIdentity
from orchestrator.text.mapped_arrays import map_arrays
from orchestrator.text.tokens import unit_rows
from orchestrator.text.weights import find_weights, identify_weights

PACKAGE = "wordllama"
TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
TABLE = "weights/l2_supercat_256.safetensors"
_BLANK = "\u2581"  # what the tokenizer writes for a blank
_WORD = re.compile(f"[ {_BLANK}]*[^ {_BLANK}]+|[ {_BLANK}]+")
_SPECIAL = re.compile("<unk>|</?s>")  # texts that are tokens by themselves
_DIGIT = re.compile(r"\d")
_LONGEST_KEPT, _MOST_KEPT = 32, 50_000  # characters of a word, words
_MOST_NEW = 64  # words of a text that are tokenised one by one: of many, the text at once is faster


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
        self._blank = self._tokenizer.get_vocab()[_BLANK]
        self._words: dict[str, list[int]] = {}
        # Of 16 bits, and the same memory for all processes of a node. Rows are widened when first used; the
        # others take up no memory.
        self._table = map_arrays(table)["embedding.weight"]
        self._rows = np.empty(self._table.shape, np.float32)
        self._is_widened = np.zeros(len(self._table), np.bool_)

    @cached_property
    def weights(self) -> tuple[WeightsIdentity, ...]:
        """Table and tokenizer."""
        return (identify_weights(self.name, self.version, PACKAGE, self._files),)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [n, 256]."""
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            if ids := self.tokenise(text):
                out[row] = self._look_up(np.array(ids)).sum(axis=0)
        return unit_rows(out)

    def tokenise(self, text: str) -> list[int]:
        """Return the token ids of a text.

        No token of this vocabulary goes on past a blank that follows something else, so that a text's tokens
        are those of its words; and most words have been seen before.
        """
        if _SPECIAL.search(text):
            return self._encode(text)
        words: list[str] = _WORD.findall(text)
        if words:  # the tokenizer puts a blank before each text
            words[0] = f" {words[0]}"
        known = self._words
        new = list(dict.fromkeys(word for word in words if word not in known))
        fresh = {word: self._tokenise_word(word) for word in new[:_MOST_NEW]}
        ids: list[int] = []
        for word in words if len(new) <= _MOST_NEW else ():
            ids += known[word] if word in known else fresh[word]
        self._keep(fresh)
        return ids if len(new) <= _MOST_NEW else self._encode(text)

    def _tokenise_word(self, word: str) -> list[int]:
        return self._encode(word[1:]) if len(word) > 1 else [self._blank]

    def _keep(self, fresh: dict[str, list[int]]) -> None:
        if len(self._words) + len(fresh) > _MOST_KEPT:
            self._words = {}  # not emptied: another thread may read it
        self._words.update((word, ids) for word, ids in fresh.items() if _is_kept(word))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _look_up(self, ids: NDArray[np.intp]) -> Vectors:
        ids = np.minimum(ids, len(self._table) - 1)
        new = ids[~self._is_widened[ids]]
        if len(new):
            self._rows[new] = self._table[new]
            self._is_widened[new] = True
        return self._rows[ids]


def _is_kept(word: str) -> bool:
    """Numbers and what has no blanks are without end, and seldom come again."""
    return len(word) <= _LONGEST_KEPT and not _DIGIT.search(word)
