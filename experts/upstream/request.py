"""What was asked of an upstream, as far as its reply is judged by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experts.catalogue.spec import ExpertSpec


@dataclass(frozen=True)
class Ask:
    """A request on its way to an upstream.

    Attributes:
        spec: the expert.
        body: what its caller wants, in OpenAI's words; the dialect of the expert is applied when it is sent.
        prompt_characters: of all that is to be read (messages, tools, schemas).
        most_prompt_tokens: no tokeniser makes more of it; infinite for pictures without a known window.
        most_completion_tokens: over all ``n`` answers.
    """

    spec: ExpertSpec
    body: dict[str, Any]
    prompt_characters: int
    most_prompt_tokens: float
    most_completion_tokens: float

    @property
    def is_chat(self) -> bool:
        """Whether it is a conversation, not a text to go on with."""
        return "messages" in self.body

    @property
    def most_usd(self) -> float:
        """The most that an upstream that obeys its limits bills for it; infinite where nothing limits it."""
        return self.spec.price.cost_usd(self.most_prompt_tokens, self.most_completion_tokens)
