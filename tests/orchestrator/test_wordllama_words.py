"""Texts are tokenised word by word: that gives the tokens that the tokenizer makes of the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.text.queries import read_queries, take_ends
from orchestrator.text.wordllama import WordLlamaEmbedder

BLANK = "\u2581"


@pytest.fixture(scope="module")
def embedder():
    return WordLlamaEmbedder()


ODD = ["  ", BLANK, "\u00a0", "\u00e9", "e\u0301", "\u4e2d", "\U0001f600"]
PIECES = st.sampled_from([*" \n\t\0a2.<", *ODD, "the", "word", "<s>", "</s>", "<unk>", "s>", "<0x0A>"])
TEXTS = (
    st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60) | st.text(" ab\u2581<s>/", max_size=20)
)


def test_words_have_the_tokens_of_the_text(embedder):
    @given(TEXTS)
    @settings(max_examples=1_000, deadline=None)
    def compare(text):
        whole = embedder._tokenizer.encode(text, add_special_tokens=False).ids
        assert embedder.tokenise(text) == whole
        assert embedder.tokenise(text) == whole  # from what was kept

    compare()


def test_no_token_goes_on_past_a_blank(embedder):
    assert not [token for token in embedder._tokenizer.get_vocab() if BLANK in token.lstrip(BLANK)]


def test_texts_of_many_new_words_too(embedder):
    text = " ".join(f"n{n * 7919}x" for n in range(1_000))
    for _ in range(20):  # a few of them are kept each time
        assert embedder.tokenise(text) == embedder._tokenizer.encode(text, add_special_tokens=False).ids


def test_what_is_kept_has_bounds(embedder, monkeypatch):
    monkeypatch.setattr("orchestrator.text.wordllama._MOST_KEPT", 50)
    embedder._words = {}
    for n in range(300):
        embedder.tokenise(f"word{n} {'x' * n}{n} {'y' * n} {chr(0x4E00 + n)}")
    assert 0 < len(embedder._words) <= 50
    assert not any(map(str.isdigit, "".join(embedder._words)))  # numbers are without end
    assert max(map(len, embedder._words)) <= 32


@given(TEXTS)
@settings(max_examples=500, deadline=None)
def test_the_surface_counts_what_python_calls_digits_and_letters(text):
    (row,) = read_queries([text], EMBEDDER).surface
    text = take_ends(text)
    length = max(len(text), 1)
    digits = sum(map(str.isdigit, text))
    other = sum(map(str.isalpha, text)) + sum(map(str.isspace, text))
    assert row[2:4] == pytest.approx(np.float32([digits / length, (length - digits - other) / length]), abs=0)


def test_a_vector_is_the_mean_of_the_rows_of_its_tokens(embedder):
    text = "What is the capital of Peru?"
    rows = embedder._table[embedder.tokenise(text)].astype(np.float32).sum(axis=0)
    (vector,) = embedder.embed([text])
    assert np.array_equal(vector, rows / np.sqrt(np.einsum("d,d->", rows, rows)))


EMBEDDER = WordLlamaEmbedder()
