"""Which field of a request an upstream refuses to take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from experts.upstream.refusals import vendor_words as words

#: Never refused as such: without them there is no request.
_NEEDED = frozenset(("messages", "prompt", "model"))
#: Fields whose names are ordinary words: they count only where they stand as a name.
_ORDINARY = frozenset(
    ("n", "user", "stop", "seed", "echo", "stream", "suffix", "store", "functions", "modalities")
)
#: What callers and the catalogue's own defaults add to a request.
_ALWAYS_SENT = ("max_tokens", "temperature", "stream", "stream_options")
_UNSUPPORTED = re.compile(r"unsupported|unknown|not_supported|unrecogni[sz]ed|extra_forbidden")
_SPELLINGS = {
    "logprobs": r"(?:top[_ -]?)?log[_ -]?prob(?:abilitie)?s?",
    "top_logprobs": r"top[_ -]?log[_ -]?prob(?:abilitie)?s?",
    "tools": r"tools|tool (?:use|calling|calls|choice)|function calling",
    "presence_penalty": r"(?:presence[_ -]?)?penalty",
    "frequency_penalty": r"(?:frequency[_ -]?)?penalty",
}


def find_refused(message: str, param: str | None, codes: str, asked: Mapping[str, Any]) -> str | None:
    """Return the field that is refused, by the name it was sent under; None where none is.

    Args:
        message: the reply's words, in small letters.
        param: the field that the reply names apart.
        codes: its machine-readable words.
        asked: the request as it was sent.
    """
    said = words.REFUSED.search(message) is not None
    if param is not None and (root := re.split(r"[.\[]", param.strip())[0]):
        at = param.strip().removeprefix("body.").removeprefix("$.")
        root = re.split(r"[.\[]", at)[0] or root
        if root in _NEEDED:
            return None
        if said or _UNSUPPORTED.search(codes.lower()):
            return root
    if not said or words.NOT_A_PARAMETER.search(message):
        return None
    # A reply names first what it refuses, and may then say what to send in its place.
    places = [
        (found.start(), -len(name), name)
        for name in dict.fromkeys((*asked, *_ALWAYS_SENT))
        if name not in _NEEDED and (found := _place(name, message)) is not None
    ]
    return min(places)[2] if places else None


def _place(name: str, message: str) -> re.Match[str] | None:
    spelt = _SPELLINGS.get(name) or re.escape(name.lower()).replace("_", "[_ -]?")
    if name in _ORDINARY:
        quoted = rf"(?:['\"`“‘]|param(?:eter)?s?:? |argument(?: supplied)?:? |field:? ){spelt}(?:['\"`”’]|\b)"
        pattern = rf"{quoted}|\b{spelt}: "
    else:
        pattern = rf"(?<![a-z]){spelt}(?![a-z])"
    return re.search(pattern, message)
