"""The text of a reply without what is no part of the answer: thinking, special tokens, HTML."""

from __future__ import annotations

import re

_BLOCKS = r"think|thinking|thoughts?|reasoning|reflection|scratchpad|analysis|seed:think"
# What begins and what ends a block of thinking, in the marks of several families of models. All runs are
# bounded, so that a search is linear in the text.
_THINKING = re.compile(
    rf"(?P<open><\s{{0,3}}(?:antml:)?(?:{_BLOCKS})(?:\s[^<>]{{0,100}})?>|\[THINK\]|◁think▷|<unused94>"
    r"|<\|(?:begin_of_thought|START_THINKING)\|>|<\|channel\|>\s{0,3}(?:analysis|commentary))"
    rf"|<\s{{0,3}}/\s{{0,3}}(?:antml:)?(?:{_BLOCKS})\s{{0,3}}>|\[/THINK\]|◁/think▷|<unused95>"
    r"|<\|(?:end_of_thought|END_THINKING)\|>|<\|channel\|>\s{0,3}final",
    re.IGNORECASE,
)
# The same without its special tokens: "analysisWe need ...assistantfinalB".
_BARE_CHANNELS = ("analysis", "assistantfinal")
_SPECIAL = re.compile(r"<\|[a-zA-Z_]{1,40}\|>|</?s>|<(?:end|start)_of_turn>")
_ATTRIBUTES = r"(?:\s{1,5}[\w-]{1,30}=[^<>]{0,200})?\s{0,3}/?>"
_HTML_INLINE = re.compile(rf"</?(?:b|strong|em|i|u|span|mark|code|font|sub|big){_ATTRIBUTES}", re.IGNORECASE)
_HTML_BLOCK = re.compile(rf"</?(?:p|br|div|li|ul|ol|h[1-6]|center|pre){_ATTRIBUTES}", re.IGNORECASE)
#: Of a longer reply its first and its last characters are read: there answers stand.
_HEAD, _TAIL = 4_000, 60_000


def without_thinking(text: str) -> str:
    """Return a reply without its blocks of thinking.

    What follows an opening mark that is never closed is thinking, and so is what stands before a closing mark
    that was never opened (some servers take the opening mark for a part of the prompt).

    >>> without_thinking("<think>A? No.</think>B"), without_thinking("A? No.</think>B")
    ('B', 'B')
    >>> without_thinking("<think>It may be A")
    ''
    """
    kept: list[str] = []
    position, inside = 0, False
    for mark in _THINKING.finditer(text):
        if mark["open"]:
            if not inside:
                kept.append(text[position : mark.start()])
            inside = True
        else:
            if not inside:
                kept.clear()
            inside = False
        position = mark.end()
    if not inside:
        kept.append(text[position:])
    said = "\n".join(part for part in kept if part.strip())
    if said.startswith(_BARE_CHANNELS[0]) and _BARE_CHANNELS[1] in said:
        said = said.rsplit(_BARE_CHANNELS[1], 1)[1]
    return said


def plain_text(text: str) -> str:
    """Return a reply without thinking, special tokens and HTML; of a very long one, both ends.

    >>> plain_text("<think>hm</think><b>B</b><|end|>").strip()
    'B'
    """
    text = without_thinking(text)
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]}\n{text[-_TAIL:]}"
    if "<" not in text:
        return text
    text = _HTML_INLINE.sub("", _SPECIAL.sub("\n", text))
    return _HTML_BLOCK.sub("\n", text)
