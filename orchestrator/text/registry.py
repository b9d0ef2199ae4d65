"""The embedders by name; none of them asks a model hub.

To add one: a file beside this that defines a class with the face of
:class:`~orchestrator.text.embedder.Embedder`, and a row in :data:`EMBEDDERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.text.embedder import Embedder, Vectors, WeightsIdentity
from orchestrator.text.embedding_cache import CachedEmbedder
from orchestrator.text.lm import PREFIX as LM_PREFIX
from orchestrator.text.lm import LmEmbedder
from orchestrator.text.minilm import MiniLmEmbedder
from orchestrator.text.shallow_minilm import ShallowMiniLmEmbedder
from orchestrator.text.tokens import unit_rows
from orchestrator.text.wordllama import WordLlamaEmbedder
from warehouse import CannotRunError, InputError, LeerooError


@dataclass(frozen=True)
class EmbedderKind:
    """How an embedder is made, and a description of it in a word or two."""

    build: Callable[[], Embedder]
    about: str
    is_static: bool = False  # a token's vector does not depend on the text around it: fast enough to wait for


EMBEDDERS = {
    "minilm-int8": EmbedderKind(MiniLmEmbedder, "contextual"),
    "minilm-shallow": EmbedderKind(ShallowMiniLmEmbedder, "contextual, faster"),
    "wordllama": EmbedderKind(WordLlamaEmbedder, "static, fast", is_static=True),
}
DEFAULT_EMBEDDER = "minilm-int8+wordllama"
FAST_EMBEDDER = "wordllama"  # where every question is embedded only to be compared with others


def load_embedder(name: str, *, cache_dir: Path | None = None) -> Embedder:
    """Build the embedder called ``name``, with an on-disk cache if ``cache_dir`` is given.

    Args:
        name: of :data:`EMBEDDERS`, ``lm:`` and a language model, or several joined by ``+``.
        cache_dir: where vectors are kept, by weights and text.

    Raises:
        InputError: no embedder has that name.
        CannotRunError: the package that carries its weights is missing.
    """
    parts: Sequence[Embedder] = load_cached(name, cache_dir) if cache_dir else _build_parts(name)
    return parts[0] if len(parts) == 1 else JoinedEmbedder(parts)


def load_cached(name: str, cache_dir: Path) -> list[CachedEmbedder]:
    """Build the embedders that ``name`` joins, each with its part of the cache; see :func:`load_embedder`."""
    return [CachedEmbedder(embedder, cache_dir) for embedder in _build_parts(name)]


def _build_parts(name: str) -> list[Embedder]:
    for part in name.split("+"):
        if part not in EMBEDDERS and not part.startswith(LM_PREFIX):
            raise InputError(
                f"no embedder is called {part!r}",
                fix=f"use one of {', '.join(sorted(EMBEDDERS))}, or {LM_PREFIX}MODEL",
            )
    return [
        EMBEDDERS[part].build() if part in EMBEDDERS else LmEmbedder(part.removeprefix(LM_PREFIX))
        for part in name.split("+")
    ]


def is_static(name: str) -> bool:
    """Tell whether all of the embedders that ``name`` joins are static."""
    return all(part in EMBEDDERS and EMBEDDERS[part].is_static for part in name.split("+"))


def check_embedders(name: str = DEFAULT_EMBEDDER) -> dict[str, LeerooError]:
    """What is wrong with the weights of the embedders that ``name`` joins; empty if all are here."""
    found: dict[str, LeerooError] = {}
    for part in name.split("+"):
        try:
            load_embedder(part)
        except (InputError, CannotRunError) as error:
            found[part] = error
    return found


def describe_embedders() -> str:
    """The names for the help of an option."""
    named = [f"{name} ({kind.about})" for name, kind in EMBEDDERS.items()]
    return ", ".join([*named, f"{LM_PREFIX}MODEL (hidden states of a small language model, slow)"])


class JoinedEmbedder:
    """Several embedders side by side; each part keeps an equal share of the unit length."""

    def __init__(self, parts: Sequence[Embedder]) -> None:
        self._parts = tuple(parts)
        self.name = "+".join(part.name for part in self._parts)
        self.dim = sum(part.dim for part in self._parts)
        self.widths = tuple(width for part in self._parts for width in part.widths)

    @property
    def weights(self) -> tuple[WeightsIdentity, ...]:
        """Those of the parts, in their order."""
        return tuple(identity for part in self._parts for identity in part.weights)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [n, sum of the parts' d]."""
        return unit_rows(np.hstack([part.embed(texts) for part in self._parts]))
