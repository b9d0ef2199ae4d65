"""Our own count of tokens, for upstreams that tell none or none that can be believed."""

from __future__ import annotations

import math

from experts.catalogue.spec import ExpertSpec

#: Characters per token before anything was learned: English prose has some 4.5, code and numbers some 3.
_FIRST = 3.0
_LEAST, _MOST = 1.0, 6.0
#: The learned rate is taken a tenth shorter, so that the count errs upward.
_CAUTION = 0.9
_WEIGHT_OF_FIRST = 200  # tokens of bills that weigh as much as the first guess
_MOST_WEIGHT = 50_000  # older bills fade beyond it
_LEAST_TOKENS = 8  # of a bill that says something about the rate


def characters_of(text: str) -> int:
    """Return the length by which tokens are counted: one for ASCII, the bytes of UTF-8 for all others.

    A Chinese character is about one token, and three bytes; so one rate serves all scripts.
    """
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


class _Rate:
    """Characters per token, learned from bills."""

    def __init__(self) -> None:
        self._tokens = float(_WEIGHT_OF_FIRST)
        self._characters = _FIRST * _WEIGHT_OF_FIRST

    def learn(self, characters: float, tokens: float) -> None:
        if tokens < _LEAST_TOKENS or characters <= 0:
            return
        rate = min(max(characters / tokens, _LEAST), _MOST)
        tokens = min(tokens, _WEIGHT_OF_FIRST)  # one long answer in odd words does not decide alone
        self._tokens += tokens
        self._characters += rate * tokens
        if self._tokens > _MOST_WEIGHT:
            fade = _MOST_WEIGHT / self._tokens
            self._tokens, self._characters = self._tokens * fade, self._characters * fade

    def tokens(self, characters: float) -> int:
        rate = self._characters / self._tokens
        rate = rate if self._tokens <= _WEIGHT_OF_FIRST else rate * _CAUTION
        return math.ceil(characters / rate)


class TokenCounter:
    """Counts tokens of one expert by characters per token, as learned from that expert's own bills.

    What it reads and what it writes have rates of their own. It begins at a cautious value and errs upward.

    >>> from experts.catalogue.pricing import Price
    >>> price = Price(usd_per_mtok_in=1, usd_per_mtok_out=1)
    >>> spec = ExpertSpec(name="a", backend="openai", model="m", price=price)
    >>> TokenCounter(spec).count("four words of text")
    6
    """

    def __init__(self, spec: ExpertSpec) -> None:
        self.spec = spec
        self._read, self._written = _Rate(), _Rate()

    def count(self, text: str) -> int:
        """Return the likely tokens of a text that the expert wrote."""
        return self.written_tokens(characters_of(text))

    def written_tokens(self, characters: int) -> int:
        """Return the likely tokens of so many written characters (:func:`characters_of`)."""
        return self._written.tokens(characters)

    def prompt_tokens(self, characters: int) -> int:
        """Return the likely tokens of so many characters to be read (:func:`characters_of`)."""
        return self._read.tokens(characters)

    def learn(self, characters: int, tokens: int) -> None:
        """Learn from the bill of an answer: what was written, and its tokens."""
        self._written.learn(characters, tokens)

    def learn_prompt(self, characters: int, tokens: int) -> None:
        """Learn from the bill of a prompt."""
        self._read.learn(characters, tokens)
