"""Conversations stay with the expert that answered so far, unless another promises clearly more.

Its replica may still hold the conversation's prefix in its cache, and answers keep one voice. A conversation
is recognised by its content: the turns up to the last answer. Only digests are kept, in the ledger, so that
every replica of the ingress knows them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from orchestrator import Decision
from orchestrator.selection.value import net_value
from serve.wire.protocol import Message

MOVE_FOR = 0.05  # expected success, after the price of cost, that another expert must add


def answered_so_far(owner: str | None, messages: Sequence[Message]) -> bytes | None:
    """Return the digest of the turns up to the last answer; None where nothing was answered yet."""
    answered = [place for place, message in enumerate(messages) if message.role == "assistant"]
    if not answered:
        return None
    return _digest(owner, [(message.role, message.text) for message in messages[: answered[-1] + 1]])


def with_answer(owner: str | None, messages: Sequence[Message], answer: str) -> bytes:
    """Return the digest of the turns with this answer after them."""
    return _digest(owner, [*((message.role, message.text) for message in messages), ("assistant", answer)])


def loses_little(decision: Decision, expert: str, min_success: float | None) -> bool:
    """Tell whether an expert is worth nearly as much as the one that was decided for.

    It is not where only the latter is expected to reach ``min_success``.
    """

    def worth(name: str) -> float:
        return net_value(decision.success[name], decision.cost_usd[name], decision.multiplier)

    if (
        min_success is not None
        and decision.success[expert] < min_success <= decision.success[decision.expert]
    ):
        return False
    return worth(expert) >= worth(decision.expert) - MOVE_FOR


def _digest(owner: str | None, said: Sequence[tuple[str, str]]) -> bytes:
    digest = hashlib.sha256(repr(owner).encode())
    for role, text in said:
        for part in (role.encode(), text.strip().encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()[:16]
