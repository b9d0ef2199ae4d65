"""Which writing system a text is in, and which languages are written in it."""

from __future__ import annotations

import re

_READ_AT_EITHER_END = 2_000  # characters: a text has one language, and its ends tell it
_LEAST_SHARE = 0.5  # of its letters that a text has in a writing system to be in it
_KANA_SHARE = 0.1  # of its letters: Japanese is written in Chinese characters too

#: Letters of each writing system but the Latin one, and the languages written in it. Code, names and
#: addresses are Latin in any language, so Latin letters say nothing of what an expert must understand.
_SCRIPTS: dict[str, tuple[str, str]] = {
    "Greek": (r"\u0370-\u03ff", "el"),
    "Cyrillic": (r"\u0400-\u052f", "ru uk bg sr mk be kk ky mn tg uz tt bs"),
    "Armenian": (r"\u0530-\u058f", "hy"),
    "Hebrew": (r"\u0590-\u05ff", "he yi"),
    "Arabic": (r"\u0600-\u06ff\u0750-\u077f", "ar fa ur ps ckb sd ug ku"),
    "Devanagari": (r"\u0900-\u097f", "hi mr ne sa mai kok"),
    "Bengali": (r"\u0980-\u09ff", "bn as"),
    "Gurmukhi": (r"\u0a00-\u0a7f", "pa"),
    "Gujarati": (r"\u0a80-\u0aff", "gu"),
    "Tamil": (r"\u0b80-\u0bff", "ta"),
    "Telugu": (r"\u0c00-\u0c7f", "te"),
    "Kannada": (r"\u0c80-\u0cff", "kn"),
    "Malayalam": (r"\u0d00-\u0d7f", "ml"),
    "Sinhala": (r"\u0d80-\u0dff", "si"),
    "Thai": (r"\u0e00-\u0e7f", "th"),
    "Lao": (r"\u0e80-\u0eff", "lo"),
    "Burmese": (r"\u1000-\u109f", "my"),
    "Georgian": (r"\u10a0-\u10ff", "ka"),
    "Ethiopic": (r"\u1200-\u137f", "am ti"),
    "Khmer": (r"\u1780-\u17ff", "km"),
    "Hangul": (r"\u1100-\u11ff\uac00-\ud7a3", "ko"),
    "Japanese": (r"\u3040-\u30ff", "ja"),
    "Chinese": (r"\u3400-\u4dbf\u4e00-\u9fff", "zh ja yue wuu"),
}
_LETTERS = {name: re.compile(f"[{letters}]") for name, (letters, _) in _SCRIPTS.items()}
_LANGUAGES = {name: frozenset(codes.split()) for name, (_, codes) in _SCRIPTS.items()}
_ANY_LETTER = re.compile(r"[^\W\d_]")


def script_of(text: str) -> str | None:
    """Return the writing system in which most of a text is; None for Latin letters, or where it is mixed.

    >>> script_of("Как дела?"), script_of("How are you?"), script_of("元気ですか")
    ('Cyrillic', None, 'Japanese')
    """
    if text.isascii():
        return None
    if len(text) > 2 * _READ_AT_EITHER_END:
        text = text[:_READ_AT_EITHER_END] + text[-_READ_AT_EITHER_END:]
    letters = len(_ANY_LETTER.findall(text))
    counts = {name: len(pattern.findall(text)) for name, pattern in _LETTERS.items()}
    if counts["Japanese"] > _KANA_SHARE * letters:
        counts["Japanese"] += counts["Chinese"]
        counts["Chinese"] = 0
    name, count = max(counts.items(), key=lambda one: one[1])
    return name if count > _LEAST_SHARE * letters else None


def is_written_in(languages: tuple[str, ...], script: str) -> bool:
    """Tell whether one of the languages is written in a writing system.

    >>> is_written_in(("en", "sr-Cyrl"), "Cyrillic"), is_written_in(("en", "de"), "Cyrillic")
    (True, False)
    """
    return any(code.partition("-")[0] in _LANGUAGES[script] for code in languages)
