"""The letter of an option in a text: how it may be written, and where it is ruled out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

# Every run is bounded: a search is linear in the text, whatever the text.
_OPEN = r"[\s(\[{*\"'“‘`$_<]{0,12}"
_SHUT = r"[)\]}*\"'”’`$_>]{0,6}"
_END = r"(?=[\s)\]}>*\"'”’`.:,;!?|$_。，：、）—–]|$)"
_RULED_OUT = (
    rf"{_SHUT}\s{{1,3}}(?i:(?:is|are|was|would be|can be|must be|seems|looks)\s{{1,3}}"
    r"(?:\w{1,12}ly\s|also\s|just\s)?"
    r"(?:not|incorrect|wrong|false|ruled|eliminated|out|impossible|implausible|invalid)\b"
    r"|(?:isn|can|doesn|won)['’]t\b|cannot\b|does not\b)"
)
_NO_LETTER = (
    # "B or C" names neither, and "A good guess" none.
    rf"(?!{_SHUT}\s{{0,3}}(?:\b(?:or|and)\b|[/&+,])\s{{0,3}}[(\[*\"']{{0,4}}[A-Z]{_END}(?!['’]\w)(?!{_RULED_OUT}))"
    r"(?!\s{1,3}(?!(?:because|since|as|is|was|due|given|which|and|but|so|would|must|seems|it)\b"
    r"|(?:rather than|instead of|over)\s{1,3}(?:[a-z]{1,12}\s{1,3})?[(\[*\"']{0,4}[A-Z]\b)[a-z])"
    rf"(?!{_RULED_OUT})"
)
_WORDS = r"(?i:options?|choices?|letters?|answers?)"
_LETTER = re.compile(rf"{_OPEN}(?:{_WORDS}\s{{1,3}}{_OPEN})?([A-Z])(?![\"']\s{{0,3}}:){_END}{_NO_LETTER}")
_SMALL_LETTER = re.compile(
    rf"[\s*\"'`$_]*(?:{_WORDS}\s{{1,3}})?"
    r"(?:\(([a-z])\).*|([a-z])(?:[).:]\s.*|[\W_]*))",
    re.DOTALL,
)
_BEHIND = re.compile(r"(?s:.{1,400}?)\s{1,3}[(\[]([A-Z])[)\]][.*\s]{0,5}")

#: Clauses that say of a letter that it is the answer; group 1 is the letter.
_CHOSEN = tuple(
    re.compile(pattern)
    for pattern in (
        r"\b(?i:choose|chose|pick|picked|select|selected|go with|going with|opt for|settle on|answer with)"
        rf"\s{{1,3}}(?:{_WORDS}\s{{1,3}})?{_OPEN}([A-Z]){_END}{_NO_LETTER}",
        rf"\b(?i:correct|right|best|final|my|chosen|selected)\s{{1,3}}(?i:option|choice|letter|one)\s{{0,3}}"
        rf"(?i:is|:|=|would be|must be)\s{{0,3}}(?:{_WORDS}\s{{1,3}})?{_OPEN}([A-Z]){_END}{_NO_LETTER}",
        r"\b(?i:it|that)(?i:['’]s|\s(?:is|must be|has to be|should be|would be))\s{1,3}"
        rf"(?:{_WORDS}\s{{1,3}})?{_OPEN}([A-Z]){_SHUT}[.!,;]{{0,2}}(?=\s|$){_NO_LETTER}",
        rf"(?<![A-Za-z0-9'’])([A-Z]){_SHUT}\s{{1,3}}(?i:is|must be|would be|has to be|seems)\s{{1,3}}"
        r"(?i:\w{1,12}ly\s{1,3})?(?i:the\s{1,3})?(?i:correct|right|best|true|answer)\b(?!\s(?i:to rule|of))",
    )
)
_MENTIONED = re.compile(
    rf"\b(?i:answer|option|choice)(?:\s{{1,3}}(?i:is)|\s{{0,3}}:)?{_OPEN}([A-Z])\b(?!['’-]){_NO_LETTER}"
)
# Letters that are set apart from the words around them, so that they mean an option.
_SET_APART = re.compile(
    r"(?<![A-Za-z0-9])[(\[]([A-Z])[)\]]|\*\*[(\[]?([A-Z])[)\]]?[.:]?\*\*|[\"“'`]([A-Z])[\"”'`]"
    r"|(?:\b(?i:so|thus|therefore|hence|is|be|but|es|est|ist|è|é)[,:]?\s{1,3}|[:：是为選选は]\s{0,3})([A-Z])"
    r"(?=\s{0,3}(?:[.!。]|です|$))"
)
_DENIED = re.compile(
    r"(?:\b(?i:not|never|neither|nor|rules?\sout|ruled\sout|ruling\sout|eliminates?|eliminated|eliminating|excludes?"
    r"|excluded|excluding|instead\sof|rather\sthan|unlike|except)|(?i:n['’]t))\s{1,3}"
    rf"(?:(?i:be|option|choice|answer|letter)s?\s{{1,3}}){{0,2}}{_OPEN}([A-Z]){_END}"
    rf"|(?<![A-Za-z0-9'’])([A-Z])(?={_RULED_OUT})"
)
# Options gone through one by one, each with what is thought of it.
_LABEL = re.compile(
    r"(?:^|(?<=[.;,!|✓✔✅✗✘❌])[ \t]{1,3})[ \t>|*•+-]{0,8}"
    rf"(?:{_WORDS}[ \t]{{1,3}})?[(\[*\"']{{0,4}}([A-Z])"
    r"(?:[)\]*\"']{0,4}[ \t]{0,3}[:.)\]=|–—-][*)]{0,3}|(?=[ \t]{0,3}[✓✔✅✗✘❌])|(?=[ \t]{1,3}(?i:is|are)\b))",
    re.MULTILINE,
)
_JUDGED = re.compile(
    r"[\s*_|:–—-]{0,8}(?:(?i:(?:this|that|it|option|choice|answer|one|statement)\s){0,2}(?i:is|are)\s"
    r"(?i:\w{1,12}ly\s)?)?"
    r"(?:(?P<no>(?i:no(?=\s*(?:[.,;!|]|$))|not\s(?:correct|right|true|the|it|this)|wrong|incorrect|false"
    r"|untrue|invalid|eliminated|impossible|ruled out)\b"
    r"|(?i:is|are)n['’]t\b|[✗✘❌×])|(?P<yes>(?i:yes|right|correct|true)\b|[✓✔✅]))"
)
_VERDICT_WITHIN = re.compile(
    r"\b(?i:is|are)\s(?i:\w{1,12}ly\s)?(?:(?P<no>(?i:not|wrong|incorrect|false)\b)|(?P<yes>(?i:right|correct|true)\b))"
    r"|(?P<cross>[✗✘❌])|(?P<tick>[✓✔✅])"
)
#: An option that says so itself: beside such ones a verdict cannot be told from the option.
_VERDICT_WORDS = frozenset(("yes", "no", "true", "false", "right", "wrong", "correct", "incorrect"))
#: Of a longer text only the end is searched for letters among words.
_TAIL = 20_000
_LONGEST_VERDICT = 400
_DENIAL = re.compile(r"(?:\bnot|n['’]t|\bnever|\bneither)\s+$", re.IGNORECASE)
_NOT_BUT = re.compile(
    rf"(?i:not)\s{{1,3}}(?:{_WORDS}\s{{1,3}})?{_OPEN}\w{{1,40}}(?: \w{{1,40}}){{0,4}}?{_SHUT}"
    r"\s{0,3}[,;]?\s{0,3}"
    r"(?i:but|rather|instead|it is|it['’]s)\s{1,3}(?i:rather\s|it is\s)?(.{1,1000})",
    re.DOTALL,
)
# Capitals of other alphabets that look like Latin ones.
_LOOKALIKES = str.maketrans("АВСЕНІЈКМОРЅТХУΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABCEHIJKMOPSTXYABEZHIKMNOPTYX")
_OTHER_ALPHABET = re.compile(r"[\u0370-\u03ff\u0400-\u04ff]+")


def fold_letters(text: str) -> str:
    """Return the text with letters in plain Latin: full width, circled, or a look-alike of another alphabet.

    Look-alikes are folded only where each stands alone and the text has no other letter of that alphabet: in
    a text in Russian, the third option may be meant by what looks like a B.

    >>> fold_letters("\uff22"), fold_letters("Answer: \u0412"), fold_letters("\u0411 \u0412").isascii()
    ('B', 'Answer: B', False)
    """
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text)
    foreign = set(_OTHER_ALPHABET.findall(text))
    if foreign and all(len(word) == 1 and ord(word) in _LOOKALIKES for word in foreign):
        text = text.translate(_LOOKALIKES)
    return text


def leading_letter(text: str) -> str | None:
    r"""Return the letter with which a text names an option, or None: "B", "(B) 4", "b)", "iron (B)"."""
    found = _LETTER.match(text) or (_SMALL_LETTER.fullmatch(text) if len(text) <= 1000 else None)
    if found is None and len(text) <= 400:
        found = _BEHIND.fullmatch(text)
    return next(group for group in found.groups() if group).upper() if found else None


def chosen_letters(text: str) -> Iterator[tuple[int, str]]:
    """Yield place and letter of every clause that says "B is right" or "I choose B"."""
    for pattern in _CHOSEN:
        for match in pattern.finditer(text):
            if not re.search(
                r"(?i)\b(?:not|n['’]t|never|neither)\s+$", text[max(0, match.start() - 10) : match.start()]
            ):
                yield match.start(), match[1]


def letter_verdicts(text: str, options: Sequence[str]) -> dict[str, bool]:
    """Return for each letter what a text that goes through the options one by one says of it.

    Nothing where the text does not speak so, or where the options are such words themselves.

    >>> letter_verdicts("A: wrong\\nB: right", ["3", "4"]), letter_verdicts("A. No", ["No", "Yes"])
    ({'A': False, 'B': True}, {})
    """
    if any(option.strip().casefold().split(" ")[0].strip(".,;") in _VERDICT_WORDS for option in options):
        return {}
    text = text[-_TAIL:]
    labels = [label for label in _LABEL.finditer(text) if "A" <= label[1] < chr(ord("A") + len(options))]
    ends = [*(label.start() for label in labels[1:]), len(text)]
    verdicts: dict[str, bool] = {}
    for label, end in zip(labels, ends, strict=False):
        said = text[label.end() : min(end, label.end() + _LONGEST_VERDICT)]
        own = options[ord(label[1]) - ord("A")].strip()
        if said.strip().casefold().startswith(own.casefold()):
            said = said.strip()[len(own) :]
        found = _JUDGED.match(said) or _VERDICT_WITHIN.search(said.split("\n", 1)[0])
        if found:
            verdicts[label[1]] = (found.lastgroup or "") in ("yes", "tick")
    return verdicts if len(verdicts) > 1 else {}


def mentioned_letter(text: str, letters: str) -> str | None:
    """Return the option that a text speaks of where it says of none that it is the answer.

    The last "option X", else the only letter that is set apart from the words; without those ruled out.

    >>> mentioned_letter("Not (A). Not (B). So (C).", "ABC"), mentioned_letter("(A) or (B)", "ABC")
    ('C', None)
    """
    text = text[-_TAIL:]
    denied = {match[1] or match[2] for match in _DENIED.finditer(text)}
    named = [match[1] for match in _MENTIONED.finditer(text) if match[1] not in denied]
    if named:
        return named[-1]
    apart = {next(g for g in match.groups() if g) for match in _SET_APART.finditer(text)} - denied
    apart &= set(letters)
    return apart.pop() if len(apart) == 1 else None


def after_denial(text: str) -> str | None:
    """Return what is put in the place of something denied ("not B but C" gives "C"), or None."""
    found = _NOT_BUT.match(text)
    return found[1] if found else None
