"""How one expert is asked: not while it is out of service, in turn, and again as often as its entry says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from experts.upstream import Ask, Failure, FailureKind, TokenCounter
from serve.experts.client import ExpertClient, WholeAnswer
from serve.request.asking.latencies import Latencies
from serve.request.asking.retrying import ask_with_retries
from serve.request.candidates.service import Service
from serve.request.in_flight import InFlight
from serve.request.turns.at_expert import ask_in_turn
from serve.request.turns.places import Turns

T = TypeVar("T")

_DRAINED = Failure(FailureKind.BUSY, "it is out of service for maintenance", in_time_of_caller=True)


class OneExpert:
    """Asks one expert for one request; knows of each how many tokens its texts come to, and whose turn it is.

    Args:
        service: which experts are out of service.
        latencies: told how long answers took.
    """

    def __init__(self, service: Service, latencies: Latencies) -> None:
        self._service, self._latencies = service, latencies
        self.turns: dict[str, Turns] = {}  # at those whose requests at once are limited
        self.counters: dict[str, TokenCounter] = {}

    def prepare(self, experts: Mapping[str, ExpertClient], known: Mapping[str, ExpertClient]) -> None:
        """Be ready for these experts; those that are ``known`` and unchanged keep their counts and queues."""
        for name, client in experts.items():
            before = known.get(name) if name in self.counters else None
            if before is None or before.spec.model != client.spec.model:
                self.counters[name] = TokenCounter(client.spec)
            if client.at_once is not None and (before is None or before.at_once != client.at_once):
                self.turns[name] = Turns(client.at_once)

    async def ask(
        self,
        job: InFlight,
        client: ExpertClient,
        ask: Callable[[ExpertClient, Ask, float], Awaitable[T | Failure]],
        timeout_s: float,
    ) -> T | Failure:
        """Ask an expert within ``timeout_s``, the wait for its turn included."""
        name, asked_at = client.spec.name, time.monotonic()
        if name in self._service.drained:  # since the request was planned
            return _DRAINED

        async def ask_once(left_s: float) -> T | Failure:
            turns = self.turns.get(name)
            return await ask_in_turn(turns, job, name, lambda s: ask(client, job.asks[name], s), left_s)

        try:
            value = await ask_with_retries(job, client.spec, self.counters[name], ask_once, timeout_s)
        except asyncio.CancelledError:
            self._note_recent(job, client, asked_at)
            raise
        if isinstance(value, WholeAnswer):
            self._latencies.note(name, time.monotonic() - asked_at)
        if not isinstance(value, Failure):
            self._note_recent(job, client, asked_at)
        return value

    def _note_recent(self, job: InFlight, client: ExpertClient, asked_at: float) -> None:
        if client.spec.hedge.percentile is not None:
            took_s, is_stream = time.monotonic() - asked_at, bool(job.request.stream)
            self._latencies.note_recent(client.spec.name, took_s, is_stream=is_stream)
