"""The answers that are kept, in memory, for a while and up to a size; also found by a near meaning."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from cachetools import TTLCache
from numpy.typing import NDArray

from serve.experts.client import WholeAnswer
from serve.request.cache.details import is_reordered
from serve.request.cache.fitting import Wanted

_MOST_ALIKE = 1_000  # questions of one group that are compared
_MOST_SHARE = 8  # no answer takes more than this part of the room

Group = tuple[bytes, str]  # and the embedder


@dataclass(frozen=True)
class KeptAnswer:
    """An answer that was given.

    Attributes:
        answer: as its expert gave it.
        report: on it, as its caller was told.
        kept_at: on the clock.
        size: in bytes, about.
        group: of the questions that it is compared with; None where it is not.
        direction: of the question's embedding, of length 1.
        words: of the question.
    """

    answer: WholeAnswer = field(repr=False)
    report: dict[str, Any] = field(repr=False)
    kept_at: float
    size: int
    group: Group | None = None
    direction: NDArray[np.float32] | None = field(default=None, repr=False)
    words: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Hit:
    """An answer that fits a request."""

    kind: Literal["exact", "semantic"]
    kept: KeptAnswer = field(repr=False)
    age_s: float
    similarity: float | None = None  # cosine, of a semantic one


class KeptAnswers:
    """Answers by the digest of what they answer.

    Args:
        most_bytes: of all of them together, about; the oldest go first.
        ttl_s: seconds after which an answer is forgotten.
        least_similarity: cosine from which on a question is taken for another.
        clock: in seconds.
    """

    def __init__(
        self,
        most_bytes: int,
        ttl_s: float,
        least_similarity: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_bytes, self._least_similarity, self._clock = most_bytes, least_similarity, clock
        self._kept: TTLCache[bytes, KeptAnswer] = TTLCache(
            most_bytes, ttl_s, timer=clock, getsizeof=lambda kept: kept.size
        )
        self._groups: dict[Group, OrderedDict[bytes, NDArray[np.float32]]] = {}
        self._compared = 0  # entries of all groups; those of answers that are gone are taken out late

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes of the answers that are kept, about."""
        return int(self._kept.currsize)

    def find(self, wanted: Wanted) -> Hit | None:
        """Return the answer to the same request."""
        return self._hit(wanted, wanted.digest, "exact", None)

    def find_near(self, wanted: Wanted, embedder: str, embedding: NDArray[np.float32]) -> Hit | None:
        """Return the answer to the question nearest in meaning, if that is near enough."""
        if wanted.group is None or not self._groups:
            return None
        alike = self._groups.get((wanted.group, embedder))
        direction = _direction(embedding)
        if not alike or direction is None:
            return None
        digests, similarities = list(alike), np.stack(list(alike.values())) @ direction
        for place in np.argsort(-similarities):
            similarity = float(similarities[place])
            if similarity < self._least_similarity:
                return None
            hit = self._hit(wanted, digests[place], "semantic", similarity)
            if hit is not None and not is_reordered(wanted.words, hit.kept.words):
                return hit
        return None

    def keep(
        self,
        wanted: Wanted,
        answer: WholeAnswer,
        report: dict[str, Any],
        size: int,
        embedder: str | None = None,
        embedding: NDArray[np.float32] | None = None,
    ) -> None:
        """Keep an answer of so many bytes, unless it is too large for the room."""
        direction = None if embedding is None else _direction(embedding)
        group = None
        if wanted.group is not None and embedder is not None and direction is not None:
            group, size = (wanted.group, embedder), size + direction.nbytes
        if size > self._most_bytes // _MOST_SHARE:
            return
        now, words = self._clock(), wanted.words
        self._kept[wanted.digest] = KeptAnswer(answer, report, now, size, group, direction, words)
        if group is None or direction is None:
            return
        alike = self._groups.setdefault(group, OrderedDict())
        self._compared += wanted.digest not in alike
        alike[wanted.digest] = direction
        if len(alike) > _MOST_ALIKE:
            alike.popitem(last=False)
            self._compared -= 1
        if self._compared > 2 * len(self._kept) + 64:
            self._sweep()

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._groups.clear()
        self._compared = 0

    def _hit(
        self, wanted: Wanted, digest: bytes, kind: Literal["exact", "semantic"], similarity: float | None
    ) -> Hit | None:
        kept = self._kept.get(digest)
        if kept is None or not wanted.reads:
            return None
        age_s = self._clock() - kept.kept_at
        if wanted.most_age_s is not None and age_s > wanted.most_age_s:
            return None
        return Hit(kind, kept, age_s, similarity)

    def _sweep(self) -> None:
        """Take out what is compared with and gone."""
        self._groups.clear()
        for digest, kept in self._kept.items():
            if kept.group is not None and kept.direction is not None:
                self._groups.setdefault(kept.group, OrderedDict())[digest] = kept.direction
        self._compared = sum(map(len, self._groups.values()))


def _direction(embedding: NDArray[np.float32]) -> NDArray[np.float32] | None:
    length = float(np.linalg.norm(embedding))
    if not np.isfinite(length) or length == 0:
        return None
    return np.asarray(embedding / length, dtype=np.float32)
