"""JSON schemas: compiled once, refused where they are none, and bounded in what checking an answer may take.

The validator is jsonschema-rs. It fetches nothing; its regular expressions stop after so many steps back.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from experts.forms.schema_work import most_visits

#: Characters of a schema, and of the depth of what is checked: no schema written by hand comes near.
LONGEST_SCHEMA = 128 * 1024
DEEPEST = 64
_MOST_VISITS = 1_000  # of one value of an answer; each takes some 50 ns
_KEPT = 64  # compiled schemas
_BACKTRACKS = 10_000
_PATTERN_BYTES = 1 << 20


class SchemaError(ValueError):
    """A schema that is none, that points elsewhere, or that would take too long to check."""


class JsonSchema:
    """A compiled schema."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def allows(self, value: Any) -> bool:
        """Tell whether a value, of at most :data:`DEEPEST` levels, is valid."""
        return bool(self._validator.is_valid(value))


def compile_schema(schema: Any) -> JsonSchema:
    """Return a schema compiled; the last ones are kept.

    Raises:
        SchemaError: see there. A reference to anything outside of the schema is refused, not fetched.
    """
    try:
        content = orjson.dumps(schema)
    except TypeError:
        raise SchemaError("it is no JSON, or nested too deep") from None
    if len(content) > LONGEST_SCHEMA:
        raise SchemaError(f"it has {len(content):,} bytes; up to {LONGEST_SCHEMA:,} are checked")
    return _compile(content)


@lru_cache(_KEPT)
def _compile(content: bytes) -> JsonSchema:
    import jsonschema_rs

    schema = orjson.loads(content)
    visits = most_visits(schema, DEEPEST, _MOST_VISITS)
    if visits is None:
        raise SchemaError("it has a $ref that is no path within it (#, or #/...)")
    if visits > _MOST_VISITS:
        raise SchemaError("checking it could take too long: its alternatives lead to themselves, or multiply")
    patterns = jsonschema_rs.FancyRegexOptions(
        backtrack_limit=_BACKTRACKS, size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES
    )
    try:
        validator = jsonschema_rs.validator_for(schema, offline=True, pattern_options=patterns)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise SchemaError(str(getattr(error, "message", error)).splitlines()[0][:300]) from None
    return JsonSchema(validator)
