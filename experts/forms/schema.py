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
#: Looks at all values of an answer, and its characters: a tenth of a second, in which nobody else is served.
_MOST_LOOKS = 2_000_000
LONGEST_CHECKED = 256 * 1024
_LOOKS_OF_MULTIPLES = 4_000  # that dividing long numbers without a rounding takes
_KEPT = 64  # compiled schemas
_BACKTRACKS = 10_000
_PATTERN_BYTES = 1 << 20


class SchemaError(ValueError):
    """A schema that is none, that points elsewhere, or that would take too long to check."""


class JsonSchema:
    """A compiled schema; ``looks`` is how often it may look at one value."""

    def __init__(self, validator: Any, looks: int) -> None:
        self._validator, self._looks = validator, looks

    def allows(self, value: Any) -> bool:
        """Tell whether a value, of at most :data:`DEEPEST` levels, is valid."""
        return bool(self._validator.is_valid(value))

    def takes_long(self, text: str) -> bool:
        """Tell whether it could take long to check what a JSON text holds."""
        values = 1 + sum(map(text.count, ",:[{"))
        return len(text) > LONGEST_CHECKED or values * self._looks > _MOST_LOOKS


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
    return JsonSchema(validator, visits + (_LOOKS_OF_MULTIPLES if b'"multipleOf"' in content else 0))
