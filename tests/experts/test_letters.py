from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.backends.letters import letter_logprobs, read_letter

SPELLINGS = (
    *("{}", " {}", "\u2581{}", "\u0120{}", "({}", "({})", "{}.", "{})", "**{}", "**{}**", "\n{}", "\u010a{}"),
    *('"{}', "{}:", "[{}]", " {}\n", "<{}>", "`{}`", "\\({}", "${}"),
)


def chat(top: list[dict[str, Any]]) -> dict[str, Any]:
    return {"content": [{"token": top[0].get("token"), "logprob": -0.1, "top_logprobs": top}]}


def token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": None}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("letter", "ABCD")
def test_a_letter_is_read_however_it_is_spelt(spelling: str, letter: str) -> None:
    assert read_letter(spelling.format(letter)) == letter
    found = letter_logprobs(chat([token(spelling.format(letter), -0.5), token("The", -0.7)]), 4)
    assert found is not None
    assert found["ABCD".index(letter)] == -0.5
    assert sum(value > -math.inf for value in found) == 1


def test_all_spellings_of_a_letter_are_joined() -> None:
    found = letter_logprobs(
        chat([token("B", -1.5), token(" B", -1.6), token("\u2581B", -2.0), token("A", -1.2)]), 2
    )
    assert found is not None
    assert found == [-1.2, pytest.approx(math.log(sum(map(math.exp, (-1.5, -1.6, -2.0)))))]


@pytest.mark.parametrize(
    "told",
    [
        {"token": "<0x42>", "logprob": -0.5},
        {"token": "bytes:\\x20B", "logprob": -0.5},
        {"token": "", "logprob": -0.5, "bytes": [32, 66]},
        {"token": "\ufffd", "logprob": -0.5, "bytes": [0xEF, 0xBC, 0xA2]},  # a full-width B
        {"token": "b", "logprob": -0.5},
    ],
)
def test_byte_tokens_and_small_letters(told: dict[str, Any]) -> None:
    assert letter_logprobs(chat([told, token("The", -1.0)]), 3) == [-math.inf, -0.5, -math.inf]


def test_a_small_letter_is_a_word_where_capitals_are_told() -> None:
    assert letter_logprobs(chat([token("a", -0.1), token("B", -3.0)]), 2) == [-math.inf, -3.0]


@pytest.mark.parametrize(
    "told", [None, {}, [], "B", 3, {"content": []}, {"content": None}, {"content": [None]}, {"content": [{}]}]
)
def test_where_none_is_told_there_is_none(told: Any) -> None:
    assert letter_logprobs(told, 4) is None


def test_the_shape_of_completions_is_read_too() -> None:
    told = {"tokens": [" B"], "token_logprobs": [-0.2], "top_logprobs": [{" B": -0.2, " A": -1.9}]}
    assert letter_logprobs(told, 2) == [-1.9, -0.2]
    assert letter_logprobs(told | {"top_logprobs": None}, 2) == [-math.inf, -0.2]
    assert letter_logprobs({"content": [token("B", -0.2)]}, 2) == [-math.inf, -0.2]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["content", "top_logprobs", "token", "logprob", "bytes", "tokens", "token_logprobs", "A"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(told=JSON, options=st.integers(1, 26))
def test_nothing_told_breaks_it(told: Any, options: int) -> None:
    found = letter_logprobs(told, options)
    assert found is None or (len(found) == options and all(v <= 0.0 and not math.isnan(v) for v in found))
