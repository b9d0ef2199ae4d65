"""Answers that are written as JSON: bare, fenced, with reasoning beside them, nested, or not quite JSON."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

# The keys under which an answer is looked for, the surest first; compared without case, blanks and dashes.
_KEYS_BY_RANK = """
finalanswer finalresult finalchoice finaloption finalverdict

answer answers correctanswer rightanswer youranswer myanswer bestanswer theanswer answerletter
answerchoice answeroption answerkey selectedanswer chosenanswer predictedanswer modelanswer
answertext answervalue ans answeris

choice option letter label verdict selected selectedoption selectedchoice selectedletter selection
correctoption correctchoice correctletter chosenoption choiceletter optionletter bestoption
bestchoice pick winner preferred preference better judgment judgement grade level rating decision
classification prediction predicted conclusion

result response output solution value final total score text content reply message completion
antwort respuesta reponse risposta resposta
"""
_RANK_OF = {key: rank for rank, keys in enumerate(_KEYS_BY_RANK.split("\n\n")) for key in keys.split()}
_DECODER = json.JSONDecoder(strict=False, parse_float=str, parse_int=str, parse_constant=str)
_OBJECT = re.compile(r"\{\s{0,100}\"")
_QUOTES = "\"'“”‘’"
_KEY = re.compile(
    rf"(?:(?<!\\)[{_QUOTES}]([A-Za-z][\w -]{{0,30}})[{_QUOTES}]|(?<=[{{,\n])\s{{0,20}}([A-Za-z]\w{{0,30}}))"
    r"\s{0,20}:\s{0,20}"
)
_SCALAR = re.compile(r"(.*?)\s{0,5}(?:,\s|,(?=[\"'])|[}\]\n]|$)")
# LaTeX whose backslash was not doubled: JSON reads "\\text" as a tab and "ext".
_EATEN = re.compile(
    "\t(?=ext|imes|heta|an|frac|ilde)|\f(?=rac|orall)|\b(?=oxed|eta|inom|ar)|\r(?=ight|ho)|\n(?=eq|abla)"
)
_EATEN_LETTER = {"\t": "t", "\f": "f", "\b": "b", "\r": "r", "\n": "n"}
_FOR, _AGAINST = ("true", "yes", "correct", "right"), ("false", "no", "incorrect", "wrong")
#: So many attempts at reading JSON, so many keys, levels and characters of a value; no answer lies beyond.
_ATTEMPTS, _KEYS, _LEVELS, _LONGEST = 16, 40, 4, 2000


def json_answers(text: str) -> list[str]:
    """Return what a text states in JSON, the surest first; nothing where it holds no JSON.

    Of several objects the last counts first. What is cut off or not quite JSON is read by its keys.

    >>> json_answers('{"steps": ["6*7"], "answer": 42, "confidence": 0.9}')
    ['42']
    >>> json_answers("{'answer': 'B', 'why': 'it's iron'}"), json_answers("B")
    (['B'], [])
    """
    if "{" not in text:
        return []
    stated = (answer for value in reversed(_objects(text)) for answer in _pick(value))
    found = list(islice(stated, _KEYS))
    return list(dict.fromkeys(found or _by_keys(text)))


def _objects(text: str) -> list[Any]:
    found: list[Any] = []
    position = attempts = 0
    while attempts < _ATTEMPTS and (opening := _OBJECT.search(text, position)):
        attempts += 1
        try:
            value, position = _DECODER.raw_decode(text, opening.start())
            found.append(value)
        except (ValueError, RecursionError):
            position = opening.start() + 1
    return found


def _pick(value: Any, level: int = 0) -> Iterator[str]:
    if level > _LEVELS:
        return
    if isinstance(value, list):
        for part in reversed(value):
            if isinstance(part, dict | list):
                yield from _pick(part, level + 1)
        return
    if not isinstance(value, dict):
        return
    ranked = sorted(
        (rank, key)
        for key in value
        if (rank := _rank(key)) is not None and value[key] not in (None, "", [], {})
    )
    for _, key in ranked:
        yield from _write(value[key], level)
    if len(value) > 1 and all(len(key.strip()) == 1 and key.strip().isalpha() for key in value):
        yield from _favoured(value)
        return
    if len(value) == 1 and not ranked:
        (key, only), *_ = value.items()
        if len(key.strip()) == 1 and isinstance(only, str):
            yield key  # {"B": "iron"}
        elif isinstance(only, str | bool):
            yield from _write(only, level)
    for part in reversed(list(value.values())):
        if isinstance(part, dict | list):
            yield from _pick(part, level + 1)


def _favoured(options: dict[str, Any]) -> Iterator[str]:
    """Of ``{"A": false, "B": true}`` and ``{"A": 0.1, "B": 0.9}`` the letter that is put above the others."""
    weights: dict[str, float] = {}
    for key, value in options.items():
        word = str(value).strip().casefold()
        if word in _FOR or word in _AGAINST:
            weights[key] = float(word in _FOR)
        else:
            try:
                weights[key] = float(word.rstrip("%"))
            except ValueError:
                return
    best = max(weights.values())
    if list(weights.values()).count(best) == 1:
        yield max(weights, key=lambda key: weights[key])


def _write(value: Any, level: int) -> Iterator[str]:
    if isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, str):
        yield _restore_latex(value)
    elif isinstance(value, list) and all(isinstance(part, str) for part in value):
        yield ", ".join(value)
    elif isinstance(value, dict) and {"value", "unit"} <= value.keys():
        yield f"{value['value']} {value['unit'] or ''}"
    elif isinstance(value, dict) and isinstance(letter := value.get("id", value.get("key")), str):
        yield letter
    else:
        yield from _pick(value, level + 1)


def _rank(key: str) -> int | None:
    plain = "".join(c for c in key.casefold() if c.isalnum())
    return _RANK_OF.get(plain)


def _by_keys(text: str) -> list[str]:
    """Read the values of known keys where the whole cannot be read as JSON."""
    keys: deque[tuple[int, int, int]] = deque(maxlen=_KEYS)
    for match in _KEY.finditer(text):
        rank = _rank(match[1] or match[2])
        if rank is not None:
            keys.append((rank, -match.start(), match.end()))
    values = (_value(text[end : end + _LONGEST]) for _, _, end in sorted(keys))
    return [value for value in values if value]


def _value(rest: str) -> str:
    rest = rest.lstrip("[ ") if rest.startswith("[") else rest
    if rest[:1] in ("{", ""):
        return ""  # the keys inside it are found by themselves
    if rest[0] not in _QUOTES:
        scalar = _SCALAR.match(rest)
        return scalar[1].strip() if scalar else ""
    closing = {"“": "”", "‘": "’"}.get(rest[0], rest[0])
    escaped = False
    for place, character in enumerate(rest[1:], start=1):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == closing and rest[place + 1 : place + 20].lstrip(" \t")[:1] in (
            "",
            ",",
            "}",
            "]",
            "\n",
        ):
            return _unescape(rest[1:place])
    return _unescape(rest[1:].split("\n", 1)[0])  # cut off


def _unescape(text: str) -> str:
    try:
        read = json.loads(f'"{text}"', strict=False)
    except ValueError:
        return text.replace("\\'", "'").replace('\\"', '"')
    return _restore_latex(read) if isinstance(read, str) else text


def _restore_latex(text: str) -> str:
    return _EATEN.sub(lambda eaten: "\\" + _EATEN_LETTER[eaten[0]], text)
