"""What is noted of a request while it is worked on, where it is traced; of all others nothing is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from experts.forms import Unusable
from experts.upstream import Failure, Usage
from serve.experts.client import ExpertClient
from serve.tracing.messages import Attributes, Said

R = TypeVar("R")

About = Callable[[R], Attributes]
#: What a request came to: its attributes, its words where they may be kept, why it failed if it did.
Outcome = tuple[Attributes, Said | None, str | None]


class Notes(Protocol):
    """Takes notes of one request. Nothing here waits, and nothing here fails the request."""

    def watch(self, work: Coroutine[Any, Any, R]) -> Coroutine[Any, Any, R]:
        """Return the work on the request; what it raises is why the request failed."""
        ...

    def during(self, name: str, work: Coroutine[Any, Any, R], about: About[R]) -> Coroutine[Any, Any, R]:
        """Return a piece of work, which becomes a span; ``about`` says what came of it."""
        ...

    def asked(self, expert: ExpertClient, why: str) -> None:
        """Note that an expert is asked; ``why`` is the reason for the first one."""
        ...

    def came(self, name: str, value: object) -> None:
        """Note an answer, or that a stream has begun."""
        ...

    def judged(self, name: str, unusable: Unusable) -> None:
        """Note why an answer is not usable."""
        ...

    def failed(self, name: str, failure: Failure) -> None:
        """Note that an expert failed."""
        ...

    def abandoned(self, name: str, *, was_sent: bool) -> None:
        """Note that nobody waits for an expert any more."""
        ...

    def used(self, name: str, usage: Usage) -> None:
        """Note the tokens of an answer."""
        ...

    def paid(self, name: str, cost_usd: float) -> None:
        """Note what asking an expert cost, which ends it."""
        ...

    def ended(self, outcome: Callable[[], Outcome]) -> None:
        """Note what the request came to; its settlement still follows."""
        ...

    def settled(self) -> None:
        """Note that nothing follows any more."""
        ...


class Untraced:
    """Takes no notes; the work is handed back as it is."""

    def watch(self, work: Coroutine[Any, Any, R]) -> Coroutine[Any, Any, R]:  # noqa: D102
        return work

    def during(  # noqa: D102
        self, name: str, work: Coroutine[Any, Any, R], about: About[R]
    ) -> Coroutine[Any, Any, R]:
        return work

    def asked(self, expert: ExpertClient, why: str) -> None: ...  # noqa: D102
    def came(self, name: str, value: object) -> None: ...  # noqa: D102
    def judged(self, name: str, unusable: Unusable) -> None: ...  # noqa: D102
    def failed(self, name: str, failure: Failure) -> None: ...  # noqa: D102
    def abandoned(self, name: str, *, was_sent: bool) -> None: ...  # noqa: D102
    def used(self, name: str, usage: Usage) -> None: ...  # noqa: D102
    def paid(self, name: str, cost_usd: float) -> None: ...  # noqa: D102
    def ended(self, outcome: Callable[[], Outcome]) -> None: ...  # noqa: D102
    def settled(self) -> None: ...  # noqa: D102


UNTRACED = Untraced()
