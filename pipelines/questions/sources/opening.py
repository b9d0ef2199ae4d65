"""Which sources there are, and which of them a run's settings ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipelines.questions.sources.base import Desk, QuestionSettings, QuestionSource
from pipelines.questions.sources.dataset import open_dataset
from pipelines.questions.sources.expert import open_writer
from pipelines.questions.sources.generated import open_generators
from warehouse import InputError


@dataclass(frozen=True)
class SourceKind:
    """A kind of source: ``open`` returns None where the settings do not ask for it.

    Of the kinds that are not ``beside``, the first that opens is the run's own source. Those beside make
    their share of each round's questions before it.
    """

    name: str
    open: Callable[[QuestionSettings, Desk], QuestionSource | None]
    beside: bool = False


#: All kinds; the last takes every name that no other has taken.
SOURCES: tuple[SourceKind, ...] = (
    SourceKind("writer", open_writer, beside=True),
    SourceKind("generators", open_generators),
    SourceKind("data set", open_dataset),
)


@dataclass(frozen=True)
class Sources:
    """Where a run's questions come from."""

    learning: tuple[QuestionSource, ...]  # in the order in which they are asked
    freezing: QuestionSource
    per_round: int  # questions of a round


def open_sources(settings: QuestionSettings, desk: Desk) -> Sources:
    """Open and read what the settings ask for.

    Raises:
        InputError: no such file, data set or domain, or too few experts to validate what a writer writes.
    """
    beside = [source for kind in SOURCES if kind.beside and (source := kind.open(settings, desk)) is not None]
    own = _open_own(settings, desk)
    freezing = own
    if settings.frozen is not None:
        whole = replace(settings, source=settings.frozen, limit=None, domains=None, seed=0)
        freezing = _open_own(whole, desk)
    count = settings.per_round or settings.per_domain * own.domain_count
    return Sources((*beside, own), freezing, count)


def _open_own(settings: QuestionSettings, desk: Desk) -> QuestionSource:
    for kind in SOURCES:
        if not kind.beside and (source := kind.open(settings, desk)) is not None:
            return source
    raise InputError(f"no kind of source takes {settings.source!r}", where="--questions")
