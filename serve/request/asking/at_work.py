"""The experts that work on a request now: one, or a second beside it if time is short."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from experts.upstream import Failure, FailureKind
from serve.experts.client import ExpertClient
from serve.request.asking.course import Course

logger = logging.getLogger("ray.serve")

T = TypeVar("T")


@dataclass(frozen=True)
class Came(Generic[T]):
    """The result of asking an expert."""

    expert: ExpertClient
    value: T | Failure
    asked_at: float  # on the clock of time.monotonic
    limit_s: float  # that it had


class AtWork(Generic[T]):
    """Asks along a course. Whoever is asked alone is asked right here; side by side they are tasks."""

    def __init__(
        self,
        course: Course[T],
        ask: Callable[[ExpertClient, float], Awaitable[T | Failure]],
        begin: Callable[[ExpertClient], Awaitable[bool]],
        deadline: float,
    ) -> None:
        self._course, self._ask_one, self._begin, self._deadline = course, ask, begin, deadline
        self._here: ExpertClient | None = None
        self._tasks: dict[asyncio.Task[Came[T]], ExpertClient] = {}
        self._ending: list[asyncio.Task[Came[T]]] = []

    async def next(self) -> Came[T] | None:
        """Return what comes next; None where the course asks nobody and waits for nobody."""
        course = self._course
        while True:
            if self._tasks:
                awaits_s = course.awaits_s()
                if awaits_s == 0:
                    return None
                waits = [one for one in (awaits_s, course.beside_after_s()) if one is not None]
                done, _ = await asyncio.wait(
                    self._tasks, timeout=min(waits, default=None), return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    task = min(done, key=list(self._tasks).index)
                    del self._tasks[task]
                    return task.result()
                expert = course.next_beside()
            else:
                expert = course.next_expert()
                if expert is None:
                    return None
            if expert is None or not await self._may_ask(expert):
                continue
            if not self._tasks and course.beside_after_s() is None:
                self._here = expert
                came = await self._ask(expert)
                self._here = None
                return came
            self._tasks[asyncio.ensure_future(self._ask(expert))] = expert

    def leave(self) -> tuple[list[Came[T]], list[ExpertClient]]:
        """Break off whoever is still at work; return what had come by now, and who was broken off.

        Nobody waits for their ends: who is cancelled meanwhile, once more, would lose what is to be charged.
        """
        came = [task.result() for task in self._tasks if task.done() and not task.cancelled()]
        broken = [expert for task, expert in self._tasks.items() if not task.done() or task.cancelled()]
        self._ending = [task for task in self._tasks if not task.done()]
        for task in self._ending:
            task.cancel()
        if self._here is not None:
            broken.append(self._here)
        self._tasks, self._here = {}, None
        return came, broken

    async def ended(self) -> None:
        """Wait until the work that was broken off has ended."""
        if self._ending:
            await asyncio.wait(self._ending)

    async def _may_ask(self, expert: ExpertClient) -> bool:
        if self._deadline - time.monotonic() > 0 and await self._begin(expert):
            return True
        self._course.excluded(expert)
        return False

    async def _ask(self, expert: ExpertClient) -> Came[T]:
        asked_at = time.monotonic()
        left_s = max(0.0, self._deadline - asked_at)
        limit_s = left_s if self._course.is_last else min(left_s, expert.spec.timeout_s)
        return Came(expert, await self._ask_safely(expert, limit_s), asked_at, limit_s)

    async def _ask_safely(self, expert: ExpertClient, limit_s: float) -> T | Failure:
        """Ask one expert; what is raised on the way is a failure of it, unless it is we who are cancelled."""
        try:
            return await self._ask_one(expert, limit_s)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
        except Exception:
            logger.exception("asking %s failed", expert.spec.name)
        return Failure(FailureKind.BROKEN_CONNECTION, "the connection to it broke")
