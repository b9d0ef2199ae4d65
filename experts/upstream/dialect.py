"""A request in the words of an expert's API."""

from __future__ import annotations

from typing import Any

from experts.catalogue.dialect import LIMITS, MAY_BE_DROPPED, PRESETS, Dialect
from experts.catalogue.spec import ExpertSpec

__all__ = ["LIMITS", "MAY_BE_DROPPED", "PRESETS", "Dialect", "fill_defaults", "word_request"]


def fill_defaults(spec: ExpertSpec, body: dict[str, Any]) -> dict[str, Any]:
    """Fill in the catalogue's sampling where a request has none: what forecasts and budgets rest on."""
    filled: dict[str, Any] = {"temperature": spec.temperature}
    if all(body.get(name) is None for name in LIMITS):
        filled["max_tokens"] = spec.max_tokens
    return filled | {name: value for name, value in body.items() if value is not None}


def word_request(
    spec: ExpertSpec, body: dict[str, Any], dialect: Dialect | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a request's fields and extra headers as the expert's API wants them.

    Args:
        spec: the expert; its model is named, its sampling stands in for what is missing.
        body: what is wanted, in OpenAI's words.
        dialect: in place of the catalogue's, where more is known by now.
    """
    dialect = spec.dialect if dialect is None else dialect
    is_completion = "messages" in body or "prompt" in body
    fields = dialect.word(fill_defaults(spec, body) if is_completion else body) | {"model": spec.model}
    return fields, dict(dialect.headers)
