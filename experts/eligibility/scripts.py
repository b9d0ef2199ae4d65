"""Which writing system a text is in, and which languages are written in it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter

_READ_AT_EITHER_END = 2_000  # characters: a text has one language, and its ends tell it
_LEAST_SHARE = 0.5  # of its letters that a text has in a writing system to be in it
_KANA_SHARE = 0.1  # of its letters: Japanese is written in Chinese characters too

#: Letters of each writing system but the Latin one, and the languages written in it. Code, names and
#: addresses are Latin in any language, so Latin letters say nothing of what an expert must understand.
_SCRIPTS: dict[str, tuple[tuple[tuple[int, int], ...], str]] = {
    "Greek": (((0x0370, 0x03FF),), "el"),
    "Cyrillic": (((0x0400, 0x052F),), "ru uk bg sr mk be kk ky mn tg uz tt bs"),
    "Armenian": (((0x0530, 0x058F),), "hy"),
    "Hebrew": (((0x0590, 0x05FF),), "he yi"),
    "Arabic": (((0x0600, 0x06FF), (0x0750, 0x077F)), "ar fa ur ps ckb sd ug ku"),
    "Devanagari": (((0x0900, 0x097F),), "hi mr ne sa mai kok"),
    "Bengali": (((0x0980, 0x09FF),), "bn as"),
    "Gurmukhi": (((0x0A00, 0x0A7F),), "pa"),
    "Gujarati": (((0x0A80, 0x0AFF),), "gu"),
    "Tamil": (((0x0B80, 0x0BFF),), "ta"),
    "Telugu": (((0x0C00, 0x0C7F),), "te"),
    "Kannada": (((0x0C80, 0x0CFF),), "kn"),
    "Malayalam": (((0x0D00, 0x0D7F),), "ml"),
    "Sinhala": (((0x0D80, 0x0DFF),), "si"),
    "Thai": (((0x0E00, 0x0E7F),), "th"),
    "Lao": (((0x0E80, 0x0EFF),), "lo"),
    "Burmese": (((0x1000, 0x109F),), "my"),
    "Georgian": (((0x10A0, 0x10FF),), "ka"),
    "Ethiopic": (((0x1200, 0x137F),), "am ti"),
    "Khmer": (((0x1780, 0x17FF),), "km"),
    "Hangul": (((0x1100, 0x11FF), (0xAC00, 0xD7A3)), "ko"),
    "Japanese": (((0x3040, 0x30FF),), "ja"),
    "Chinese": (((0x3400, 0x4DBF), (0x4E00, 0x9FFF)), "zh ja yue wuu"),
}
_RANGES = sorted((first, last, name) for name, (ranges, _) in _SCRIPTS.items() for first, last in ranges)
_FIRSTS = [first for first, _, _ in _RANGES]
_LANGUAGES = {name: frozenset(codes.split()) for name, (_, codes) in _SCRIPTS.items()}


def script_of(text: str) -> str | None:
    """Return the writing system in which most of a text is; None for Latin letters, or where it is mixed.

    >>> script_of("Как дела?"), script_of("How are you?"), script_of("元気ですか")
    ('Cyrillic', None, 'Japanese')
    """
    if text.isascii():
        return None
    if len(text) > 2 * _READ_AT_EITHER_END:
        text = text[:_READ_AT_EITHER_END] + text[-_READ_AT_EITHER_END:]
    letters, counts = 0, Counter[str]()
    for character, count in Counter(text).items():
        if character.isalpha():
            letters += count
            if (name := _script_of_letter(ord(character))) is not None:
                counts[name] += count
    if counts["Japanese"] > _KANA_SHARE * letters:
        counts["Japanese"] += counts["Chinese"]
        counts["Chinese"] = 0
    for name, count in counts.most_common(1):
        return name if count > _LEAST_SHARE * letters else None
    return None


def _script_of_letter(code: int) -> str | None:
    place = bisect_right(_FIRSTS, code) - 1
    if place < 0:
        return None
    _, last, name = _RANGES[place]
    return name if code <= last else None


def is_written_in(languages: tuple[str, ...], script: str) -> bool:
    """Tell whether one of the languages is written in a writing system.

    >>> is_written_in(("en", "sr-Cyrl"), "Cyrillic"), is_written_in(("en", "de"), "Cyrillic")
    (True, False)
    """
    return any(code.partition("-")[0] in _LANGUAGES[script] for code in languages)
