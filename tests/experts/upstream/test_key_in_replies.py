"""A key that an upstream sends back, in whatever spelling, is in nothing that is passed on."""

import json

import pytest

from experts import ExpertSpec, Price
from experts.upstream.counting import TokenCounter
from experts.upstream.reading import Answer, read_reply
from experts.upstream.request import ask_of
from experts.upstream.stream import Piece, StreamReader

KEY = "sk-operators-own-7f3a9c51"
SPELLINGS = {
    "plain": json.dumps(KEY),
    "escaped": '"' + "".join(f"\\u{ord(char):04x}" for char in KEY) + '"',
    "inside": json.dumps(f"it is {KEY}, twice {KEY}"),
}
SPEC = ExpertSpec(
    name="e",
    backend="openai",
    model="m",
    price=Price(usd_per_mtok_in=1, usd_per_mtok_out=1),
    context_tokens=99,
)
ASK = ask_of(SPEC, {"messages": [{"role": "user", "content": "Which key?"}], "max_tokens": 20})


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_whole(spelling):
    said = '{"choices": [{"message": {"role": "assistant", "content": %s}}], "x": {%s: 1}}'
    body = (said % (SPELLINGS[spelling], SPELLINGS[spelling])).encode()
    answer = read_reply(ASK, 200, {}, body, TokenCounter(SPEC), secrets=(KEY,))
    assert isinstance(answer, Answer)
    assert "***" in answer.text
    assert KEY not in json.dumps(answer.body)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_streamed(spelling):
    reader = StreamReader(ASK, TokenCounter(SPEC), secrets=(KEY,))
    piece = '{"choices": [{"index": 0, "delta": {"content": KEY}, "finish_reason": "stop"}]}'
    piece = piece.replace("KEY", SPELLINGS[spelling])
    read = reader.feed(f"data: {piece}\n\ndata: [DONE]\n\n".encode()) + reader.end()
    assert all(isinstance(one, Piece) for one in read)
    told = json.dumps([one.body for one in read])
    assert "***" in told
    assert KEY not in told


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_unstreamed_where_a_stream_was_asked_for(spelling):
    reader = StreamReader(ASK, TokenCounter(SPEC), secrets=(KEY,))
    body = '{"choices": [{"message": {"role": "assistant", "content": KEY}}]}'
    body = body.replace("KEY", SPELLINGS[spelling])
    read = reader.feed(body.encode()) + reader.end()
    told = json.dumps([one.body for one in read if isinstance(one, Piece)])
    assert "***" in told
    assert KEY not in told


ODD_KEY = "Zq9opEr4torsOwnKey77"  # like no vendor's: nothing but the key itself tells it
FRAMES = {
    "title": "<html><title>%s%s%s</title>",
    "page": "<html>%s%s%s",
    "message": '{"error": {"message": "%s%s%s"}}',
    "code": '{"error": {"message": "no", "code": "%s%s%s"}}',
    "param": '{"error": {"message": "unsupported parameter", "param": "%s%s%s"}}',
    "deeper": '{"detail": [{"msg": "%s%s%s"}]}',
}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("cut", [60, 200, 300, 2_000, 15_000, 20_000])
@pytest.mark.parametrize("before", ["word ", " ", "<b></b>"])
@pytest.mark.parametrize("status", [400, 401, 500])
def test_no_part_of_a_key_is_left_where_an_error_is_cut(frame, cut, before, status):
    for place in range(cut - len(ODD_KEY), cut + 2, 3):
        filled = (before * (place // len(before) + 1))[:place]
        body = (FRAMES[frame] % (filled, ODD_KEY, " and more" * 40)).encode()
        failure = read_reply(ASK, status, {}, body, TokenCounter(SPEC), secrets=(ODD_KEY,))
        told = f"{failure.message} {failure.param}"
        assert not any(ODD_KEY[at : at + 5] in told for at in range(len(ODD_KEY) - 4)), told
