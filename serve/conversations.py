"""Conversations stay with the expert that answered so far, unless another promises clearly more.

Its replica may still hold the conversation's prefix in its cache, and answers keep one voice. A conversation
is recognised by its content: the turns up to the last answer. Only digests are kept.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from orchestrator import Decision
from serve.protocol import Message

MOVE_FOR = 0.05  # expected success, after the price of cost, that another expert must add
_MAX_KEPT = 50_000


class Conversations:
    """Who answered which conversation last, for the most recent ones."""

    def __init__(self) -> None:
        self._experts: OrderedDict[bytes, str] = OrderedDict()

    def remember(self, owner: str | None, messages: Sequence[Message], answer: str, expert: str) -> None:
        """Note who gave the answer to these turns."""
        said = [*((message.role, message.text) for message in messages), ("assistant", answer)]
        key = _digest(owner, said)
        self._experts[key] = expert
        self._experts.move_to_end(key)
        if len(self._experts) > _MAX_KEPT:
            self._experts.popitem(last=False)

    def expert_of(self, owner: str | None, messages: Sequence[Message]) -> str | None:
        """Return who gave the last answer in these turns, if it is known."""
        answered = [place for place, message in enumerate(messages) if message.role == "assistant"]
        if not answered:
            return None
        said = [(message.role, message.text) for message in messages[: answered[-1] + 1]]
        return self._experts.get(_digest(owner, said))


def loses_little(decision: Decision, expert: str) -> bool:
    """Tell whether an expert is worth nearly as much as the one that was decided for."""

    def worth(name: str) -> float:
        return decision.success[name] - decision.multiplier * decision.cost_usd[name]

    return worth(expert) >= worth(decision.expert) - MOVE_FOR


def _digest(owner: str | None, said: Sequence[tuple[str, str]]) -> bytes:
    digest = hashlib.sha256(repr(owner).encode())
    for role, text in said:
        for part in (role.encode(), text.strip().encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()[:16]
