"""Answers under a schema, sound and spoilt, as an upstream gives them."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

#: A family of schemas, each with what makes values that are valid against it.
NAMES = ("city", "count", "tags", "when", "kind")


@dataclass(frozen=True)
class Given:
    """What an expert says, and whether that is usable."""

    message: dict[str, Any]
    finish: str
    is_usable: bool
    spoilt: str = "no"


def text(content):
    return {"role": "assistant", "content": content}


LEAVES = st.sampled_from(
    [
        ({"type": "string"}, st.text('aeiou "\\\n\u00e9', max_size=8), 3),
        ({"type": "integer", "minimum": 0}, st.integers(0, 10**6), -1),
        ({"type": "number"}, st.floats(-1e6, 1e6), "three"),
        ({"type": "boolean"}, st.booleans(), "yes"),
        ({"enum": ["red", "green"]}, st.sampled_from(["red", "green"]), "blue"),
        ({"type": "string", "pattern": "^[a-z]+$"}, st.text("abc", min_size=1, max_size=5), "A1"),
        ({"type": ["integer", "null"]}, st.none() | st.integers(-9, 9), {}),
        ({"type": "array", "items": {"type": "integer"}}, st.lists(st.integers(0, 9), max_size=4), ["x"]),
    ]
)


@st.composite
def schemas(draw):
    """Return a schema of an object, a valid value, and one that is not."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    leaves = [draw(LEAVES) for _ in names]
    schema = {
        "type": "object",
        "properties": {name: leaf for name, (leaf, _, _) in zip(names, leaves, strict=True)},
        "required": names,
        "additionalProperties": False,
    }
    value = {name: draw(valid) for name, (_, valid, _) in zip(names, leaves, strict=True)}
    spoilt = draw(st.integers(0, len(names) - 1))
    wrong = draw(
        st.sampled_from(
            [
                {**value, names[spoilt]: leaves[spoilt][2]},
                {**value, "more": 1},
                {name: value[name] for name in names[1:]},
                [value],
                "red",
            ]
        )
    )
    if draw(st.booleans()):  # the same by way of a reference
        schema = {"$ref": "#/$defs/it", "$defs": {"it": schema}}
    return schema, value, wrong


SPOILT = st.sampled_from(
    ["no"] * 3
    + ["violated", "fenced", "trailing", "before", "cut", "single_quotes", "comma", "empty", "refusal", "nan"]
    + ["declines", "two", "prose", "deep"]
)


def given_of(how, value, wrong):
    """Return a value as an expert says it, spoilt in some way."""
    sound = json.dumps(value)
    said = {
        "no": sound,
        "violated": json.dumps(wrong),
        "fenced": f"```json\n{sound}\n```",
        "trailing": f"{sound}\nI hope that this helps!",
        "before": f"Here it is: {sound}",
        "cut": sound[: max(1, len(sound) - 2)],
        "single_quotes": "{'city': 'Lima'}",
        "comma": sound[:-1] + ",}",
        "empty": " \n",
        "refusal": None,
        "nan": '{"count": NaN}',
        "declines": "I'm sorry, but I can't help with that.",
        "two": sound + sound,
        "prose": "The answer is Lima.",
        "deep": "[" * 200 + "]" * 200,
    }[how]
    message = text(said) | ({"refusal": "I will not."} if how == "refusal" else {})
    return Given(message, "length" if how == "cut" else "stop", how == "no", how)
