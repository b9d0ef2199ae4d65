"""The interface of embedders, and how weights are told from others of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class WeightsIdentity:
    """Two embedders of equal ``name``, ``version`` and ``checksum`` give the same vectors."""

    name: str  # of the embedder
    version: int  # of how we read a text with these weights: tokens kept, pooling, layers
    checksum: str  # SHA-256 of weights and tokenizer, hexadecimal
    package: str  # that carries the weights, with its version; for people, not compared

    def __str__(self) -> str:
        return f"version {self.version} of {self.package}, checksum {self.checksum[:12]}"

    @property
    def key(self) -> str:
        """Short and fit for a folder's name; decides what a cached vector may be used for."""
        return f"{self.name}-{self.version}-{self.checksum[:16]}"


def weights_key(weights: Sequence[WeightsIdentity]) -> str:
    """Name the weights behind an embedder's vectors: vectors of equal names may be compared."""
    return "+".join(identity.key for identity in weights)


class Embedder(Protocol):
    """The interface of every embedder."""

    @property
    def name(self) -> str:
        """Name for :func:`orchestrator.text.registry.load_embedder`."""
        ...

    @property
    def dim(self) -> int:
        """Width d of the vectors."""
        ...

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the vectors that are joined into one; they sum to d."""
        ...

    @property
    def weights(self) -> tuple[WeightsIdentity, ...]:
        """The weights behind each of the joined vectors."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [n, d], rows of unit length (a text without tokens is the zero vector)."""
        ...
