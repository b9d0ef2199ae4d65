"""The notes of an ingress on a sampled request, sent to the deployment that makes spans of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Scalar = str | bool | int | float
Attributes = Mapping[str, Scalar | tuple[Scalar, ...]]


@dataclass(frozen=True)
class Sampled:
    """A request that is traced: the trace it belongs to, and the span of its caller if that sent one."""

    trace_id: int
    parent_id: int | None = None


@dataclass(frozen=True)
class NotedSpan:
    """One piece of work of a request.

    Attributes:
        name: as it is shown.
        kind: the request itself (server), a call to an expert (client), or work in between.
        began_ns: since the epoch.
        ended_ns: since the epoch.
        parent: the place of its parent among the spans of the request; None for the first one.
        attributes: numbers and names, and no text of the request.
        error: in a word, where it failed; OpenTelemetry's ``error.type``.
    """

    name: str
    kind: Literal["server", "client", "internal"]
    began_ns: int
    ended_ns: int
    parent: int | None
    attributes: Attributes
    error: str | None = None


@dataclass(frozen=True)
class Said:
    """The words of a request, where its texts may be kept. Nothing logs them.

    Attributes:
        messages: role and text of each, the oldest first.
        answer: what came; None where nothing did.
        finish_reason: of the answer.
    """

    messages: tuple[tuple[str, str], ...] = field(repr=False)
    answer: str | None = field(default=None, repr=False)
    finish_reason: str | None = None


@dataclass(frozen=True)
class NotedTrace:
    """All that was noted of one request; its spans in order of their beginning, the request itself first."""

    sampled: Sampled
    spans: tuple[NotedSpan, ...]
    said: Said | None = None
