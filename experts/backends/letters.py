"""Option letters in the log-probabilities of an API, however its tokeniser spells them."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from experts.catalogue.prompts import LETTERS

#: What stands for a blank or a line break in the tokens of SentencePiece and of byte-level vocabularies.
_BLANKS = str.maketrans({"\u2581": " ", "\u0120": " ", "\u010a": "\n", "\u0109": "\t", "\u00a0": " "})
_BYTES = re.compile(r"(?:<0x([0-9A-Fa-f]{2})>)+")
_ESCAPED = re.compile(r"^bytes:((?:\\x[0-9A-Fa-f]{2}|[ -~])+)$")
_AROUND = " \t\r\n()[]{}<>*_`~#\"'“”‘’«».,:;-–—/\\|=$"
#: Log-probabilities below this stand for "not known" or "never".
_NEVER = -9000.0


def letter_logprobs(logprobs: Any, options: int) -> list[float] | None:
    """Return the log-probability of each option's letter as the first token (-inf where it is not among those
    told), all spellings of a letter together; None where the API told none at all.

    A small letter counts where no capital one does: "a" is a word as well.

    Args:
        logprobs: what stands under ``logprobs`` of a choice, in the shape of chats or of completions.
        options: how many there are.
    """
    told = list(_first_token(logprobs))
    if not told:
        return None
    letters = LETTERS[:options]
    found: dict[str, list[float]] = {}
    for token, value in told:
        found.setdefault(read_letter(token), []).append(value)
    if not any(letter in found for letter in letters):
        found = {name.upper(): values for name, values in found.items()}
    return [_log_sum_exp(found.get(letter, [])) for letter in letters]


def read_letter(token: str) -> str:
    """Return what a token says, without blanks, brackets, stars and stops around it.

    >>> [read_letter(token) for token in ("\u2581A", "(B", "**C", "D.", "<0x41>", "bytes:\\\\x20A", "Answer")]
    ['A', 'B', 'C', 'D', 'A', 'A', 'Answer']
    """
    if _BYTES.fullmatch(token):
        token = bytes(int(pair, 16) for pair in re.findall(r"0x(..)", token)).decode("utf-8", "replace")
    elif escaped := _ESCAPED.match(token):
        token = re.sub(r"\\x(..)", lambda pair: chr(int(pair[1], 16)), escaped[1])
    return unicodedata.normalize("NFKC", token.translate(_BLANKS)).strip(_AROUND)


def _first_token(logprobs: Any) -> Iterator[tuple[str, float]]:
    """Yield the likeliest first tokens with their log-probabilities."""
    if not isinstance(logprobs, Mapping):
        return
    content = logprobs.get("content")
    if isinstance(content, list) and content and isinstance(content[0], Mapping):
        first = content[0]
        told = [one for one in first.get("top_logprobs") or () if isinstance(one, Mapping)]
        for one in told or [first]:
            yield from _pair(_spelling(one), one.get("logprob"))
        return
    # The shape of completions, which some servers keep for chats.
    tops, tokens, values = (logprobs.get(name) for name in ("top_logprobs", "tokens", "token_logprobs"))
    if isinstance(tops, list) and tops and isinstance(tops[0], Mapping):
        for token, value in tops[0].items():
            yield from _pair(token, value)
    elif isinstance(tokens, list) and tokens and isinstance(values, list) and values:
        yield from _pair(tokens[0], values[0])


def _pair(token: Any, value: Any) -> Iterator[tuple[str, float]]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(token, str) and is_number and math.isfinite(value) and value > _NEVER:
        yield token, min(float(value), 0.0)


def _spelling(told: Mapping[str, Any]) -> Any:
    """Return a token's text: by its bytes where they are told, since half a character has no other name."""
    data = told.get("bytes")
    if isinstance(data, list) and data and all(isinstance(one, int) and 0 <= one < 256 for one in data):
        return bytes(data).decode("utf-8", "replace")
    return told.get("token")


def _log_sum_exp(logprobs: list[float]) -> float:
    if not logprobs:
        return -math.inf
    top = max(logprobs)
    return top + math.log(sum(math.exp(value - top) for value in logprobs))
