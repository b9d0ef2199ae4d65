"""Schemas of any kind: compiled as an independent validator reads them, or refused; never long."""

import contextlib
import json
import time

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.forms import JsonText, Reason, Said, SchemaError, compile_schema, judge_usable
from experts.forms.schema import DEEPEST, LONGEST_SCHEMA
from experts.forms.schema_work import most_visits

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "ab", "b7"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
LEAVES = st.sampled_from(
    [
        True,
        {},
        {"type": "integer"},
        {"type": ["string", "null"]},
        {"enum": ["a", 1, None]},
        {"minimum": 0},
        {"pattern": "^a"},
        {"minLength": 1, "type": "string"},
        {"const": "ab"},
        {"uniqueItems": True},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda one: {"items": one}, inner),
        st.builds(lambda one: {"properties": {"a": one}, "required": ["a"]}, inner),
        st.builds(lambda one, two: {"properties": {"a": one, "b": two}, "type": "object"}, inner, inner),
        st.builds(lambda one: {"additionalProperties": one}, inner),
        st.builds(lambda *ones: {"anyOf": list(ones)}, inner, inner),
        st.builds(lambda *ones: {"oneOf": list(ones)}, inner, inner),
        st.builds(lambda *ones: {"allOf": list(ones)}, inner, inner),
        st.builds(lambda one: {"not": one}, inner),
        st.builds(lambda one: {"$defs": {"it": one}, "$ref": "#/$defs/it"}, LEAVES),
    ),
    max_leaves=6,
)


@given(SCHEMAS, VALUES)
def test_what_is_valid_is_so_for_another_validator_too(schema, value):
    try:
        compiled = compile_schema(schema)
    except SchemaError:  # a reference deeper within: from the root there is no such path
        assert "$ref" in str(schema)
        return
    assert compiled.allows(value) == jsonschema.Draft202012Validator(schema).is_valid(value)


@given(SCHEMAS)
def test_a_schema_without_references_is_never_refused(schema):
    if "$ref" not in str(schema):
        compile_schema(schema)


WORDS = st.sampled_from(["type", "$ref", "items", "anyOf", "properties", "pattern", "not", "$id", "enum"])


@given(st.recursive(VALUES, lambda inner: st.dictionaries(WORDS, inner)))
def test_whatever_is_called_a_schema_is_compiled_or_refused(schema):
    with contextlib.suppress(SchemaError):
        compile_schema(schema).allows({"a": 1})


def doubling(levels):
    defs = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": defs | {f"a{levels}": {"type": "integer"}}}


HOSTILE = {
    "doubling": doubling(40),
    "doubling beside": {"allOf": [doubling(30)]},
    "doubling in depth": {"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]},
    "by other names": {
        "patternProperties": {"^a": {"$ref": "#"}},
        "additionalProperties": {"$ref": "#"},
        "properties": {"a": {"$ref": "#"}},
    },
    "in a circle": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}},
    },
    "unevaluated": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}], "unevaluatedProperties": False}},
    },
    "elsewhere": {"$ref": "http://127.0.0.1:1/schema.json"},
    "a file": {"$ref": "file:///etc/passwd"},
    "another dialect": {"$schema": "http://127.0.0.1:1/dialect", "type": "object"},
    "a name within": {"items": {"$id": "http://x.test/", "$ref": "#/$defs/a"}, "$defs": {"a": {}}},
    "dynamic": {"$dynamicRef": "#it", "$dynamicAnchor": "it"},
    "too long": {"enum": ["x" * LONGEST_SCHEMA]},
    "too many": {"properties": {f"p{n}": {"anyOf": [{"items": {}}]} for n in range(3_500)}},
    "huge pattern": {"pattern": "((a{100}){100}){100}"},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_is_refused_soon(name):
    began = time.process_time()
    with pytest.raises(SchemaError):
        compile_schema(HOSTILE[name])
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("pattern", ["^(a+)+$", r"^(?=(a+)+$)(a+)+\1$", r"(a|a)*b", "^(?!x)a*"])
def test_a_pattern_that_runs_away_is_stopped(pattern):
    compiled = compile_schema({"type": "string", "pattern": pattern})
    began = time.process_time()
    compiled.allows("a" * 30_000 + "!")
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("schema", "visits"),
    [
        ({"type": "object"}, 1),
        ({"type": "array", "items": {"$ref": "#"}}, 2),
        ({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}, 2),
        ({"items": {"anyOf": [{"properties": {"kind": {"const": n}}} for n in range(40)]}}, 41),
    ],
)
def test_ordinary_schemas_are_far_from_the_bound(schema, visits):
    assert most_visits(schema, DEEPEST, 1_000) <= visits
    compile_schema(schema)


def test_an_answer_that_is_nested_deeper_than_is_checked_is_none():
    form = JsonText(compile_schema({"items": {"$ref": "#"}}))
    for levels in (DEEPEST, DEEPEST + 1):
        found = judge_usable(form, Said("[" * levels + "]" * levels))
        assert (found is None) == (levels <= DEEPEST)
    assert found.reason is Reason.NOT_JSON


def test_equal_schemas_are_compiled_once():
    assert compile_schema({"type": "object"}) is compile_schema({"type": "object"})


LONG = [
    (
        {
            "$defs": {
                "a": {"allOf": [{"type": "integer"}] * 28},
                "b": {"allOf": [{"$ref": "#/$defs/a"}] * 28},
            },
            "items": {"$ref": "#/$defs/b"},
        },
        1,
    ),
    ({"items": {"multipleOf": 1e-300}}, 1e300),
    ({"items": {"multipleOf": 0.01}}, 1e308),
    ({"items": {"patternProperties": {f"^a{n}.*z$": {} for n in range(200)}}}, {"abc": 1}),
    ({"$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}, [[[[]]]]),
    ({"uniqueItems": True}, {"a": 1}),
    ({"items": {"enum": [{"a": n} for n in range(900)]}}, {"a": 900}),
]


@pytest.mark.parametrize(("schema", "item"), LONG)
@pytest.mark.parametrize("length", [10_000, 100_000, 300_000])
def test_no_answer_takes_long_to_check(schema, item, length):
    """Everybody else waits meanwhile."""
    one = json.dumps(item)
    text = "[" + ", ".join([one] * (length // (len(one) + 2))) + "]"
    form = JsonText(compile_schema(schema))
    took_s = []
    for _ in range(3):  # the best of them: a collection of this process's garbage is not the check's
        began = time.thread_time()
        judge_usable(form, Said(text))
        took_s.append(time.thread_time() - began)
    assert min(took_s) < 0.5
