"""Generated streams, split at any byte: pieces that every client can read, an end, or a failure."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.upstream import Failure, FailureKind, Piece, StreamReader, TokenCounter
from tests.experts.upstream.scripted_socket import completion, make_ask, make_spec, piece
from tests.experts.upstream.test_replies import choices, counts, odd

SPEC = make_spec()
ROLE = piece({"role": "assistant", "content": ""})
USAGE = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}}


def read(data: bytes, cuts: Any = (), **asked: Any) -> tuple[list[Piece | Failure], StreamReader]:
    reader = StreamReader(make_ask(SPEC, **asked), TokenCounter(SPEC))
    items: list[Piece | Failure] = []
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        items += reader.feed(data[start:end])
    return items + reader.end(), reader


def wire(*events: Any, end: str = "\n\n") -> bytes:
    lines = [event if isinstance(event, str) else f"data: {json.dumps(event)}" for event in events]
    return "".join(line + end for line in lines).encode("utf-8", "surrogatepass")


def said(items: list[Piece | Failure], name: str = "content") -> str:
    deltas = [c["delta"] for item in items if isinstance(item, Piece) for c in item.body["choices"]]
    return "".join(delta.get(name) or "" for delta in deltas)


def check(items: list[Piece | Failure], reader: StreamReader) -> None:
    failures = [at for at, item in enumerate(items) if isinstance(item, Failure)]
    assert failures in ([], [len(items) - 1])
    ids = set()
    for item in items:
        if isinstance(item, Failure):
            continue
        sent = json.dumps(item.body, allow_nan=False, ensure_ascii=False).encode()
        assert json.loads(sent) == item.body
        assert item.body["object"] == "chat.completion.chunk"
        assert item.body["model"] == "alpha"
        assert item.body["choices"]
        assert "usage" not in item.body
        ids.add(item.body["id"])
        for choice in item.body["choices"]:
            assert isinstance(choice["delta"], dict)
            assert type(choice["index"]) is int
            content = choice["delta"].get("content")
            assert content is None or isinstance(content, str)
            for call in choice["delta"].get("tool_calls", ()):
                assert type(call["index"]) is int
    assert len(ids) <= 1
    usage = reader.usage
    assert 0 <= usage.completion_tokens <= 50
    assert 0 < usage.prompt_tokens <= 8000


events = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "id": odd,
            "choices": st.lists(choices | odd, max_size=2) | odd,
            "usage": counts | odd,
            "error": odd,
        },
    )
    | st.sampled_from(
        [
            ROLE,
            piece({"content": "Fine."}),
            piece({}, "stop"),
            USAGE,
            "data: [DONE]",
            ": ping",
            "data: : keepalive",
            "data:",
            "event: ping",
            "data: {",
            "retry: 5",
            "nonsense",
            "data: null",
            "data: [1]",
        ]
    ),
    max_size=8,
)


@settings(max_examples=500, deadline=None)
@given(
    events=events,
    cuts=st.lists(st.integers(0, 600), max_size=6),
    end=st.sampled_from(["\n\n", "\r\n\r\n", "\r\r", "\n"]),
)
def test_any_stream_is_pieces_and_an_end(events: list[Any], cuts: list[int], end: str) -> None:
    items, reader = read(wire(*events, end=end), cuts)
    check(items, reader)
    assert reader.is_over
    assert reader.feed(b"data: {}\n\n") == []


@settings(max_examples=300, deadline=None)
@given(
    words=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
    end=st.sampled_from(["\n\n", "\r\n\r\n", "\r\r", "\n"]),
    noise=st.sampled_from(
        [": ping", "data: : keepalive", "data:", "data: ", "event: ping\ndata: {}", "id: 7", "data: {}"]
    ),
    mark=st.booleans(),
    done=st.booleans(),
)
def test_a_good_stream_arrives_whole_however_it_is_split(
    words: list[str], cuts: Any, end: str, noise: str, mark: bool, done: bool
) -> None:
    told = [event for word in words for event in (piece({"content": word}), noise)]
    tail = ["data: [DONE]"] if done else []
    data = (b"\xef\xbb\xbf" if mark else b"") + wire(ROLE, *told, piece({}, "stop"), USAGE, *tail, end=end)
    items, reader = read(data, cuts)
    check(items, reader)
    assert not any(isinstance(item, Failure) for item in items)
    assert said(items) == "".join(words)
    finishes = [c["finish_reason"] for item in items if isinstance(item, Piece) for c in item.body["choices"]]
    assert [finish for finish in finishes if finish] == ["stop"]
    if reader.usage.completion_tokens != 9:  # more characters than nine tokens can hold
        assert reader.usage.is_estimated


@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=4), at=st.integers(0, 2000))
def test_a_stream_cut_anywhere_before_its_end_is_a_failure(words: list[str], at: int) -> None:
    data = wire(ROLE, *(piece({"content": word}) for word in words))
    items, _ = read(data[: min(at, len(data))])
    assert isinstance(items[-1], Failure)
    assert items[-1].kind in {FailureKind.CUT_STREAM, FailureKind.MALFORMED}
    assert "".join(words).startswith(said(items))


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(min_codepoint=0x1F300, max_codepoint=0x1F700), min_size=1, max_size=5))
def test_pairs_of_surrogates_split_between_pieces_are_joined(text: str) -> None:
    halves = text.encode("utf-16-le")
    units = [halves[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(halves), 2)]
    items, reader = read(wire(*(piece({"content": unit}) for unit in units), piece({}, "stop")))
    check(items, reader)
    assert said(items) == text


def test_a_half_pair_that_stays_alone_is_replaced() -> None:
    items, reader = read(
        wire(
            piece({"content": "a\ud83d"}),
            piece({"content": "b"}),
            piece({"content": "\ud83d"}),
            piece({}, "stop"),
        )
    )
    check(items, reader)
    assert said(items) == "a\ufffdb\ufffd"


KINDS: dict[str, tuple[bytes, FailureKind]] = {
    "nothing": (b"", FailureKind.CUT_STREAM),
    "done alone": (wire("data: [DONE]"), FailureKind.EMPTY),
    "role, done": (wire(ROLE, "data: [DONE]"), FailureKind.EMPTY),
    "role, stop": (wire(ROLE, piece({}, "stop"), "data: [DONE]"), FailureKind.EMPTY),
    "error event": (wire(ROLE, {"error": {"message": "x", "code": 503}}), FailureKind.SERVER_ERROR),
    "named error event": (
        wire(ROLE, 'event: error\ndata: {"message": "slow down", "type": "rate_limit_error"}'),
        FailureKind.BUSY,
    ),
    "error field": (wire(ROLE, "error: gone"), FailureKind.SERVER_ERROR),
    "error in a list": (wire('data: [{"error": {"code": 429, "message": "x"}}]'), FailureKind.BUSY),
    "error in a choice": (wire(ROLE, piece({}, "error", error={"message": "x"})), FailureKind.SERVER_ERROR),
    "finish error": (wire(piece({"content": "a"}), piece({}, "error")), FailureKind.SERVER_ERROR),
    "filtered": (wire(ROLE, piece({}, "content_filter"), "data: [DONE]"), FailureKind.CONTENT_FILTER),
    "no end": (wire(piece({"content": "a"})), FailureKind.CUT_STREAM),
    "broken piece": (wire(piece({"content": "a"}), 'data: {"choices": [{'), FailureKind.MALFORMED),
    "a page": (b"<html>x</html>", FailureKind.MALFORMED),
    "whole error": (json.dumps({"error": {"message": "x", "code": 429}}).encode(), FailureKind.BUSY),
}


@pytest.mark.parametrize("what", KINDS)
def test_each_kind_of_bad_end(what: str) -> None:
    data, kind = KINDS[what]
    items, _ = read(data)
    assert isinstance(items[-1], Failure), items
    assert items[-1].kind is kind


def test_an_end_is_an_end_whatever_comes_after() -> None:
    items, reader = read(
        wire(piece({"content": "a"}), piece({}, "stop"), {"error": {"message": "x"}}, "data: {")
    )
    assert not any(isinstance(item, Failure) for item in items), items
    items, _ = read(wire(piece({"content": "a"}), "data: [DONE]", {"error": {"message": "x"}}))
    assert items[-1].body["choices"][0]["finish_reason"] == "stop"  # type: ignore[union-attr]
    assert reader.is_over


def test_a_whole_reply_in_place_of_a_stream_is_read() -> None:
    items, reader = read(json.dumps(completion()).encode())
    assert said(items) == "Fine."
    assert reader.usage.completion_tokens == 2


def call(index: Any = None, call_id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    entry = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return piece({"tool_calls": [{key: value for key, value in entry.items() if value is not None}]})


CALLS: dict[str, list[dict[str, Any]]] = {
    "as they should be": [
        call(0, "a", "f", ""),
        call(0, arguments="{}"),
        call(1, "b", "g", ""),
        call(1, arguments="[]"),
    ],
    "arguments first": [
        call(0, arguments="{"),
        call(1, arguments="["),
        call(0, "a", "f", "}"),
        call(1, "b", "g", "]"),
    ],
    "mixed": [call(1, "b", "g", "["), call(0, "a", "f", "{"), call(1, arguments="]"), call(0, arguments="}")],
    "no index": [
        call(None, "a", "f", "{"),
        call(None, "a", None, "}"),
        call(None, "b", "g", "["),
        call(None, None, None, "]"),
    ],
    "one index for all": [call(0, "a", "f", "{}"), call(0, "b", "g", "[]")],
    "named again and again": [
        call(0, "a", "f", "{"),
        call(0, "a", "f", "}"),
        call(1, "b", "g", "["),
        call(1, "b", "g", "]"),
    ],
    "objects as arguments": [call(0, "a", "f", {}), call(1, "b", "g", [])],
}


@pytest.mark.parametrize("what", CALLS)
def test_tool_calls_in_any_order_add_up(what: str) -> None:
    items, reader = read(wire(*CALLS[what], piece({}, "tool_calls")))
    check(items, reader)
    got: dict[int, list[str]] = {}
    for item in items:
        assert isinstance(item, Piece)
        for entry in item.body["choices"][0]["delta"].get("tool_calls", ()):
            if entry["index"] not in got:
                assert entry["id"]
                assert entry["type"] == "function"
                assert entry["function"]["name"]
            slot = got.setdefault(entry["index"], ["", "", ""])
            slot[0] += entry.get("id") or ""
            slot[1] += entry["function"].get("name") or ""
            slot[2] += entry["function"].get("arguments") or ""
    assert sorted(got.values()) == [["a", "f", "{}"], ["b", "g", "[]"]]


def test_our_count_is_by_text_and_not_by_piece() -> None:
    text = "several words of an answer " * 20
    few = read(wire(piece({"content": text}), piece({}, "stop")))[1].usage.completion_tokens
    many = read(wire(*(piece({"content": char}) for char in text), piece({}, "stop")))[
        1
    ].usage.completion_tokens
    assert few == many == 50  # bounded by what was allowed
    short = read(wire(piece({"content": "several words of an answer"}), piece({}, "stop")))[1].usage
    assert short.is_estimated
    assert 5 <= short.completion_tokens <= 12


def test_counts_told_on_the_way_grow_with_what_comes_after() -> None:
    told = piece({"content": "a few words"}) | {"usage": {"prompt_tokens": 12, "completion_tokens": 3}}
    reader = StreamReader(make_ask(SPEC), TokenCounter(SPEC))
    reader.feed(wire(told))
    assert reader.usage.completion_tokens == 3
    assert not reader.usage.is_estimated
    reader.feed(wire(piece({"content": " and many more words"})))
    assert reader.usage.completion_tokens > 6
    assert reader.usage.is_estimated


def test_thoughts_count_and_show() -> None:
    items, reader = read(
        wire(piece({"reasoning_content": "some thoughts of mine"}), piece({"content": "42"}, "stop"))
    )
    assert isinstance(items[0], Piece)
    assert items[0].shows
    assert said(items, "reasoning_content") == "some thoughts of mine"
    assert reader.usage.completion_tokens >= 6


def test_several_answers_keep_their_places() -> None:
    def of(index: Any, text: str, finish: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}

    items, _ = read(wire(of(1, "b"), of(0, "a"), of(1, "", "stop"), of(0, "", "length")), n=2)
    places = {
        c["index"]: c["finish_reason"] for i in items if isinstance(i, Piece) for c in i.body["choices"]
    }
    assert places == {0: "length", 1: "stop"}
    items, _ = read(wire(of(7, "a"), of(None, "b"), of("x", "", "stop")))
    assert {c["index"] for i in items if isinstance(i, Piece) for c in i.body["choices"]} == {0}


def test_an_object_may_stretch_over_many_lines_and_takes_no_longer_for_it() -> None:
    text = json.dumps(piece({"content": "Fine."}, "stop") | {"more": list(range(30_000))}, indent=0)
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    begun = time.process_time()
    items, _ = read(f"{lines}\n".encode())
    assert said(items) == "Fine."
    assert time.process_time() - begun < 5.0
