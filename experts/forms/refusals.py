"""A text that declines to answer and says nothing else."""

from __future__ import annotations

import re

#: A longer text says something beside it.
_LONGEST = 600
_REGRETS = (
    r"(?:(?:i['’]m|i am)\s)?(?:so |very |truly |deeply )?sorry\b",
    r"(?:my )?apolog(?:ies|y)\b",
    r"i (?:deeply |sincerely )?apologi[sz]e\b",
    r"unfortunately\b",
    r"as an? (?:ai|artificial intelligence|large language model|language model)\b",
)
_CANNOT = (
    r"(?:can['’]?t|cannot|can not|won['’]t|will not"
    r"|(?:am|['’]m) (?:not able|unable|not allowed|not permitted|not going) to"
    r"|(?:am|['’]m) not comfortable|must decline|must refuse|have to decline|have to refuse)"
)
_ACTS = (
    r"(?:help|assist|comply|fulfil|do (?:that|this|so)|answer (?:that|this)|respond to (?:that|this)"
    r"|provide|engage in|continue (?:with )?(?:that|this)|create|generate|produce|write|discuss (?:that|this)"
    r"|support|participate|share|offer|give you|with (?:that|this)|to (?:that|this)"
    r"|providing|creating|generating)"
)
_DECLINES = re.compile(
    rf"[\s*_\"'“]{{0,8}}(?:(?:{'|'.join(_REGRETS)})[^.!?\n]{{0,60}}?[\s,.;:–—-]{{1,4}}(?:but\s{{1,2}})?)?"
    rf"i\s{{0,2}}{_CANNOT}\s{{0,2}}(?:(?:\w{{1,12}}\s){{0,2}}{_ACTS}\b|[.!]?\s{{0,4}}$)",
    re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Tell whether a text begins by declining, and is too short to say much beside it.

    >>> is_refusal("I'm sorry, but I can't assist with that."), is_refusal("I cannot recommend it enough.")
    (True, False)
    """
    return len(text) <= _LONGEST and _DECLINES.match(text) is not None
