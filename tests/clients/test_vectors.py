"""Embeddings and rerank by experts that offer them: the way of every request, and what is refused."""

import json
import math

import httpx
import openai
import pytest
from able_api import AbleHandler
from hypothesis import given
from hypothesis import strategies as st

from experts import ExpertSpec
from experts.upstream import Ask, TokenCounter, ask_of, read_reply
from warehouse import InputError

PRICE = {"usd_per_mtok_in": 1.0, "usd_per_mtok_out": 4.0}
SPEC = ExpertSpec(name="v", backend="openai", model="m", price=PRICE, offers=("embeddings", "rerank"))
TEXTS = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def web(endpoint):
    headers = {"authorization": f"Bearer {endpoint.key}"}
    with httpx.Client(base_url=endpoint.url, headers=headers, timeout=30) as client:
        yield client


def test_vectors_come_in_the_order_of_the_texts_and_are_paid(endpoint):
    spent_usd = endpoint.spent_usd()
    with openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key=endpoint.key, max_retries=0) as client:
        answer = client.embeddings.create(model="vectors", input=["one", "three"])
        alone = client.embeddings.create(model="leeroo", input="only one expert offers them")
    assert [one.embedding for one in answer.data] == [[3.0, 0.5], [5.0, 0.5]]
    assert (answer.model, answer.usage.prompt_tokens, alone.model) == ("vectors", 16, "vectors")
    assert answer.leeroo["cost_usd"] == pytest.approx(16 / 1e6)
    assert endpoint.comes_to_usd(spent_usd + 24 / 1e6)
    sent = AbleHandler.bodies[-1]
    assert sent.keys() <= {"model", "input", "encoding_format"}


def test_documents_come_in_the_order_of_their_scores(web):
    asked = {"model": "vectors", "query": "q", "documents": ["a", "ccc", "bb"], "return_documents": True}
    told = web.post("/v1/rerank", json=asked | {"top_n": 2}).json()
    assert [(one["index"], one["document"]) for one in told["results"]] == [(1, "ccc"), (2, "bb")]
    assert told["leeroo"]["expert"] == "vectors"
    assert told["usage"]["estimated"]  # it told a total alone


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("embeddings", {"model": "able", "input": "x"}, 404),
        ("embeddings", {"model": "leeroo:quality", "input": "x"}, 404),
        ("embeddings", {"model": "vectors", "input": ""}, 400),
        ("embeddings", {"model": "vectors", "input": []}, 400),
        ("embeddings", {"model": "vectors", "input": ["a", 1]}, 400),
        ("embeddings", {"model": "vectors", "input": "x", "max_cost_usd": 1}, 400),
        ("rerank", {"model": "vectors", "query": "x"}, 400),
        ("rerank", {"model": "vectors", "query": "x", "documents": [{"text": "x"}]}, 400),
        ("chat/completions", {"model": "vectors", "messages": [{"role": "user", "content": "x"}]}, 404),
        ("responses", {"model": "vectors", "input": "x"}, 404),
        ("chat/completions", {"experts": ["vectors"], "messages": [{"role": "user", "content": "x"}]}, 400),
    ],
)
def test_who_does_not_offer_it_is_not_asked(web, path, asked, status):
    reply = web.post(f"/v1/{path}", json=asked)
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["message"]


def test_only_apis_offer_more_than_chat():
    with pytest.raises((ValueError, InputError), match="offers"):
        ExpertSpec(name="v", backend="vllm", model="m", price=PRICE, offers=("embeddings",))


def vectors(body, told):
    ask = ask_of(SPEC, body)
    return read_reply(ask, 200, {}, json.dumps(told).encode(), TokenCounter(SPEC))


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
ENTRY = st.fixed_dictionaries(
    {}, optional={"index": st.integers(-1, 4) | ODD, "embedding": st.lists(st.floats(), max_size=2) | ODD}
)
RANK = st.fixed_dictionaries({}, optional={"index": st.integers(-1, 4) | ODD, "relevance_score": ODD})


@given(TEXTS, st.lists(ENTRY, max_size=4) | ODD, st.lists(RANK, max_size=4) | ODD, ODD)
def test_odd_replies_are_whole_answers_or_failures(texts, entries, ranks, usage):
    answer = vectors({"input": texts}, {"data": entries, "usage": usage})
    if hasattr(answer, "body"):
        assert [one["index"] for one in answer.body["data"]] == list(range(len(texts)))
        told = [one["embedding"] for one in answer.body["data"]]
        assert all(isinstance(one, str) or all(map(math.isfinite, one)) for one in told)
    answer = vectors({"query": "q", "documents": texts}, {"results": ranks, "usage": usage})
    if hasattr(answer, "body"):
        scores = [one["relevance_score"] for one in answer.body["results"]]
        assert scores == sorted(scores, reverse=True)
        assert {one["index"] for one in answer.body["results"]} <= set(range(len(texts)))
        assert answer.usage.completion_tokens == 0


@given(st.text(min_size=1, max_size=50), TEXTS, st.booleans())
def test_no_more_is_billed_than_was_set_aside(query, documents, has_window):
    """The query is read with every document: at a token for each byte it is still covered."""
    spec = SPEC.model_copy(update={"context_tokens": 500}) if has_window else SPEC
    ask: Ask = ask_of(spec, {"query": query, "documents": documents})
    most = sum(len(f"{query}{document}".encode()) for document in documents)
    assert ask.most_prompt_tokens >= most
    assert ask.most_completion_tokens == 0
    told = ask_of(spec, {"input": [*documents, query]})
    assert told.most_prompt_tokens >= sum(len(text.encode()) for text in (*documents, query))
    assert ask_of(spec, {"input": [[1, 2, 3], [4]]}).most_prompt_tokens >= 4
