"""The charges of a call to its caller: one per attempt, in total never more than was reserved.

The key whose request caused a billed call pays for it: by the reported usage if that is credible, else by
an estimate that errs upward. If an upstream claims, or may bill, more than was reserved, the operator
disputes the excess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from experts.backends.registry import may_bill_failures
from experts.upstream import Ask, Failure, TokenCounter, Usage
from experts.upstream.usage_told import LONGEST_TOKEN
from serve.ledger.messages import MOST_USD

#: Seconds in which an upstream goes on writing before it notices that nobody reads.
_NOTICED_AFTER_S = 1.0
_LEAST_UNSEEN_TOKENS = 16
#: Characters a token, over a whole answer, that no tokeniser of today comes to: what is longer than so many
#: times its limit has passed it.
_MOST_CHARACTERS_PER_TOKEN = 12


@dataclass(frozen=True)
class Charge:
    """The charge for one attempt.

    Attributes:
        cost_usd: the cost of the credible token counts, or an estimate.
        claimed_usd: the cost that the upstream claims, if that is higher.
    """

    cost_usd: float
    claimed_usd: float = 0.0


NOTHING = Charge(0.0)


@dataclass
class RequestBudget:
    """The money that may be spent on a request, and the money spent."""

    reserved_usd: float
    spent_usd: float = 0.0
    disputed_usd: float = 0.0

    @property
    def left_usd(self) -> float:
        """The amount that a further attempt may cost."""
        return max(0.0, self.reserved_usd - self.spent_usd)

    def charge(self, charge: Charge, kept_usd: float = 0.0) -> None:
        """Take a charge out, as far as it goes; the rest is disputed. ``kept_usd`` is others' at work."""
        paid_usd = min(charge.cost_usd, max(0.0, self.left_usd - kept_usd))
        self.spent_usd = min(self.spent_usd + paid_usd, self.reserved_usd)
        self.disputed_usd += max(charge.cost_usd, charge.claimed_usd) - paid_usd


def likely_usd(ask: Ask, counter: TokenCounter) -> float:
    """Return what an answer comes to by an estimate that errs upward: its prompt, and all it may write."""
    prompt = min(float(counter.prompt_tokens(ask.prompt_characters)), ask.most_prompt_tokens)
    return min(_price(ask, prompt, ask.most_completion_tokens), ask.most_usd, MOST_USD)


def charge_answer(ask: Ask, usage: Usage, written: int, counter: TokenCounter) -> Charge:
    """Return the charge for an answer; ``written`` are its characters."""
    return Charge(usage.cost_usd(ask.price), _claimed_usd(ask, usage, written, counter))


def charge_failure(ask: Ask, failure: Failure, counter: TokenCounter) -> Charge:
    """Return the charge for an attempt that failed, as its upstream may bill it.

    Reported token counts are trusted. If there are none, the upstream may have done all of the work.
    """
    if not may_bill_failures(ask.spec):
        return NOTHING
    if failure.usage is not None and not failure.usage.is_estimated:
        return Charge(failure.usage.cost_usd(ask.price), failure.usage.claimed_usd)
    claimed_usd = 0.0 if failure.usage is None else failure.usage.claimed_usd
    if failure.consequence.may_be_billed or claimed_usd:
        return Charge(likely_usd(ask, counter), claimed_usd)
    return NOTHING


def charge_cut_stream(
    ask: Ask, usage: Usage, written: int, writing_s: float, counter: TokenCounter
) -> Charge:
    """Return the charge for a stream that was cut: what came, and what was written before that was seen.

    Args:
        ask: what was asked.
        usage: of the pieces that came.
        written: characters of the pieces that came.
        writing_s: seconds from the question to the cut.
        counter: of the expert.
    """
    came = float(usage.completion_tokens)
    unseen = max(_LEAST_UNSEEN_TOKENS, came / max(writing_s, 0.1) * _NOTICED_AFTER_S)
    more = max(came, min(came + unseen, ask.most_completion_tokens)) - came
    cost_usd = replace(usage, completion_tokens=math.ceil(came + more)).cost_usd(ask.price)
    return Charge(cost_usd, _claimed_usd(ask, usage, written, counter))


def is_beyond(ask: Ask, usage: Usage, written: int) -> bool:
    """Tell whether an answer has certainly gone past the tokens that it was allowed, by its length.

    A few tokens may be long words or runs of blanks, and a text completion may repeat its prompt. Where the
    upstream tells a count that can be, that counts.
    """
    if not usage.is_estimated:
        return False
    most = _MOST_CHARACTERS_PER_TOKEN * ask.most_completion_tokens + LONGEST_TOKEN
    return written - ask.repeated_characters > most


def has_overrun(ask: Ask, usage: Usage, written: int) -> bool:
    """Tell whether an answer went past what it was allowed, by its length or by its upstream's claim."""
    return usage.has_overrun or is_beyond(ask, usage, written) or usage.claimed_usd > ask.most_usd


def _claimed_usd(ask: Ask, usage: Usage, written: int, counter: TokenCounter) -> float:
    """Return what an upstream that was not believed says it is, or will, by the length of what it wrote."""
    if not is_beyond(ask, usage, written):
        return usage.claimed_usd
    return max(usage.claimed_usd, _price(ask, float(usage.prompt_tokens), counter.written_tokens(written)))


def _price(ask: Ask, prompt: float, completion: float) -> float:
    if math.isinf(prompt) or math.isinf(completion):
        return MOST_USD
    return ask.price.cost_usd(prompt, completion)
