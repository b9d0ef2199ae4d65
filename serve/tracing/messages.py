"""The notes that an ingress makes on a sampled request; the deployment turns them into spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Scalar = str | bool | int | float
Attributes = Mapping[str, Scalar | tuple[Scalar, ...]]


@dataclass(frozen=True)
class Sampled:
    """A traced request: its trace, and the caller's span if there is one."""

    trace_id: int
    parent_id: int | None = None


@dataclass(frozen=True)
class NotedSpan:
    """One piece of work of a request.

    Attributes:
        name: the name that is shown.
        kind: the request itself (server), a call to an expert (client), or work in between.
        began_ns: beginning, in ns since the epoch.
        ended_ns: end, likewise.
        parent: index of its parent among the spans of the request; None for the first one.
        attributes: numbers and names, never texts of the request.
        error: OpenTelemetry's ``error.type`` if the work failed.
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
    """The texts of a request, if they may be kept. They are never logged.

    Attributes:
        messages: role and text of each message, oldest first.
        answer: the answer; None if there is none.
        finish_reason: of the answer.
    """

    messages: tuple[tuple[str, str], ...] = field(repr=False)
    answer: str | None = field(default=None, repr=False)
    finish_reason: str | None = None


@dataclass(frozen=True)
class NotedTrace:
    """All notes on one request; spans are ordered by their beginning, the request itself first."""

    sampled: Sampled
    spans: tuple[NotedSpan, ...]
    said: Said | None = None
