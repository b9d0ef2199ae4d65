"""Vectors of texts and orders of documents, in the shapes that most APIs share, whatever came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experts.upstream.shape.choices import index_of
from experts.upstream.shape.json_text import Unbounded

_MOST_CHARACTERS = 4_000_000  # of one vector as base64


def read_dict(value: Any) -> dict[str, Any]:
    """Return an object, or an empty one for what is none."""
    return value if isinstance(value, dict) else {}


def read_vectors(content: Mapping[str, Any], asked: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return a vector for each text of a request, in the order of the texts; None where one is missing."""
    given = asked["input"]
    is_many = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    entries = _by_index(content.get("data"), len(given) if is_many else 1)
    if entries is None or len(entries) != (len(given) if is_many else 1):
        return None
    vectors = [entry.get("embedding") for entry in entries]
    if not all(map(_is_vector, vectors)):
        return None
    return [
        {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
    ]


def read_ranks(content: Mapping[str, Any], asked: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the documents with their scores, the best first; None where the reply has none for them."""
    documents = asked["documents"]
    entries = _by_index(content.get("results"), len(documents))
    if not entries:
        return None
    ranks = []
    for entry in entries:
        score = entry.get("relevance_score", entry.get("score"))
        if isinstance(score, bool | Unbounded) or not isinstance(score, int | float):
            return None
        rank = {"index": entry["index"], "relevance_score": score}
        ranks.append(
            rank | ({"document": documents[entry["index"]]} if asked.get("return_documents") else {})
        )
    ranks.sort(key=lambda rank: -rank["relevance_score"])
    most = asked.get("top_n")
    return ranks[: most if isinstance(most, int) else None]


def _by_index(told: Any, most: int) -> list[dict[str, Any]] | None:
    """Return entries in the order of their indices, each of which is there once."""
    entries = told if isinstance(told, list) else []
    found: dict[int, dict[str, Any]] = {}
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            return None
        index = index_of(entry) if "index" in entry else position
        if index is None or index >= most or index in found:
            return None
        found[index] = {**entry, "index": index}
    return [found[index] for index in sorted(found)]


def _is_vector(value: Any) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= _MOST_CHARACTERS and value.isascii()
    return isinstance(value, list) and bool(value) and all(type(number) in (float, int) for number in value)
