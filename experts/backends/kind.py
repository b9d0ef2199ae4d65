"""What the rest of the project asks about a way of running experts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experts.backends.base import Backend
from experts.backends.hardware import Hardware, Problem
from experts.catalogue.spec import ExpertSpec
from experts.upstream.connection import Post


def _passes(_spec: ExpertSpec, _where: str, _convert: bool) -> None:
    """Hold an expert for loadable: nothing of it lies here."""


def _alone(spec: ExpertSpec) -> str:
    return f"{spec.backend}/{spec.name}"


def _no_env(_spec: ExpertSpec) -> dict[str, str]:
    return {}


def _no_memory(_spec: ExpertSpec) -> float | None:
    return 0.0


def _no_tokenizer(_spec: ExpertSpec, _texts: Iterable[str]) -> int | None:
    return None


@dataclass(frozen=True)
class BackendKind:
    """A row of :data:`experts.backends.registry.BACKENDS`: all that depends on an expert's ``backend``.

    Attributes:
        build: backends by name, of experts that live in one process.
        check_runnable: what keeps an expert from running on a machine.
        in_flight: questions that one process may work on at once.
        most_replicas: processes at most.
        can_be_asked: whether it answers questions that nobody asked before.
        is_paid: whether each call is on somebody else's bill, and its words are another's.
        has_engine: whether it holds hardware of ours.
        check_loadable: raises InputError where a model or adapter is missing or broken; takes the expert,
            where it is written down, and whether to convert a bundled model.
        engine_key: experts of one key live on one engine.
        env: environment variables of the process that runs it.
        memory_gib: what its engine takes of a CPU's memory; None where nobody knows.
        count_tokens: the tokens of texts by its own tokenizer; None where that does not lie here.
        post: makes what sends requests to its API, with its key; None where that speaks OpenAI's dialect.
    """

    build: Callable[[Sequence[ExpertSpec], str | Path | None], dict[str, Backend]]
    check_runnable: Callable[[ExpertSpec, Hardware], list[Problem]]
    in_flight: Callable[[ExpertSpec], int]
    most_replicas: Callable[[ExpertSpec], int]
    can_be_asked: bool = True
    is_paid: bool = False
    has_engine: bool = False
    check_loadable: Callable[[ExpertSpec, str, bool], None] = _passes
    engine_key: Callable[[ExpertSpec], str] = _alone
    env: Callable[[ExpertSpec], dict[str, str]] = _no_env
    memory_gib: Callable[[ExpertSpec], float | None] = _no_memory
    count_tokens: Callable[[ExpertSpec, Iterable[str]], int | None] = _no_tokenizer
    post: Callable[[ExpertSpec, str], Post] | None = None
