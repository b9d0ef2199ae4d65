"""The catalogue's sampling, where a request has none: what the forecasts rest on."""

from __future__ import annotations

from typing import Any

from experts import ExpertSpec


def with_defaults(spec: ExpertSpec, body: dict[str, Any]) -> dict[str, Any]:
    """Fill in the catalogue's sampling where the request has none."""
    filled: dict[str, Any] = {"temperature": spec.temperature}
    if body.get("max_tokens") is None and body.get("max_completion_tokens") is None:
        filled["max_tokens"] = spec.max_tokens
    return filled | {name: value for name, value in body.items() if value is not None}
