"""Other APIs' words for a chat completion, held against the types of their official clients."""

import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from serve.dialects.blocks import Block, BlockStream, Opened, Written, blocks_of
from serve.dialects.messages_answer import message_of
from serve.dialects.messages_events import MessageEvents
from serve.dialects.messages_request import MessagesRequest
from serve.dialects.responses_answer import response_of
from serve.dialects.responses_events import ResponseEvents
from serve.dialects.responses_request import ResponsesRequest
from serve.wire.api_errors import ApiError

TEXTS = st.text(max_size=12)
NAMES = st.text("abc_", min_size=1, max_size=5)
OBJECTS = st.dictionaries(NAMES, st.none() | st.integers() | TEXTS | st.lists(TEXTS, max_size=2), max_size=3)
USAGE = {
    "prompt_tokens": 40,
    "completion_tokens": 9,
    "total_tokens": 49,
    "prompt_tokens_details": {"cached_tokens": 30, "cache_creation_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
REPORT = {"request_id": "req-1", "expert": "able", "tried": [], "cost_usd": 0.1}
RESPONSES = ResponsesRequest(input="x", tools=[{"type": "function", "name": "f", "parameters": {}}])
MESSAGES = MessagesRequest(messages=[{"role": "user", "content": "x"}], max_tokens=9, stop_sequences=["END"])


@st.composite
def messages(draw):
    """A whole message of a chat completion, as experts' replies are read."""
    calls = [
        {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for at, (name, given) in enumerate(draw(st.lists(st.tuples(NAMES, OBJECTS), max_size=3)))
    ]
    message = {"role": "assistant", "content": draw(st.none() | TEXTS)}
    for name in ("reasoning_content", "refusal"):
        if text := draw(st.just("") | TEXTS):
            message[name] = text
    return message | ({"tool_calls": calls} if calls else {})


@st.composite
def streamed(draw, message, *, is_mixed=True):
    """The pieces of a message in a stream; those of several calls, and text, mixed in any order."""
    names = ("reasoning_content", "content", "refusal")
    rows = [[{name: part} for part in draw(cut(message.get(name) or ""))] for name in names]
    for at, call in enumerate(message.get("tool_calls", ())):
        begun = {**call, "index": at, "function": {**call["function"], "arguments": ""}}
        rest = [
            {"index": at, "function": {"arguments": part}}
            for part in draw(cut(call["function"]["arguments"]))
        ]
        rows.append([{"tool_calls": [piece]} for piece in (begun, *rest)])
    deltas = [{"role": "assistant", "content": ""}]
    while any(rows):
        filled = [row for row in rows if row]
        row = draw(st.sampled_from(filled)) if is_mixed else filled[0]
        deltas.append(row.pop(0))
    return deltas


def cut(text):
    """Any division of a text into pieces."""
    return st.sets(st.integers(0, len(text))).map(
        lambda places: [
            text[start:end]
            for start, end in zip([0, *sorted(places)], [*sorted(places), len(text)], strict=True)
        ]
    )


def completion(message, finish="stop"):
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    frame = {"id": "c", "object": "chat.completion", "created": 1, "model": "able"}
    return {**frame, "choices": [choice], "usage": USAGE, "leeroo": REPORT}


def pieces_of(deltas, finish="stop"):
    frame = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "able"}
    told = [(delta, None) for delta in deltas] + [({}, finish)]
    pieces = [
        {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in told
    ]
    pieces[0]["leeroo"] = pieces[-1]["leeroo"] = REPORT
    return [*pieces, {**frame, "choices": [], "usage": USAGE}]


def events_of(words, pieces):
    return [event for piece in pieces for event in words.read(piece)] + words.end()


@cache
def official():
    """The official clients' own types: of an event, and of an answer."""
    from anthropic.types import Message, RawMessageStreamEvent
    from openai.types.responses import Response, ResponseStreamEvent

    types = (ResponseStreamEvent, Response, RawMessageStreamEvent, Message)
    return [TypeAdapter(one).validate_python for one in types]


@given(st.data(), messages())
@settings(max_examples=100, deadline=None)
def test_blocks_follow_each_other_whatever_order_their_pieces_come_in(data, message):
    stream = BlockStream()
    events = [event for delta in data.draw(streamed(message)) for event in stream.add(delta)] + stream.end()
    is_open, texts = False, []
    for event in events:
        if isinstance(event, Opened):
            assert not is_open
            assert event.at == len(texts)
            is_open, text = True, ""
        elif isinstance(event, Written):
            assert is_open
            text += event.text
        else:
            assert is_open
            assert text == event.block.text
            is_open = False
            texts.append(event.block)
    assert not is_open
    whole = blocks_of(message)
    calls = [block for block in texts if block.is_call]
    assert sorted(calls, key=lambda call: call.call_id) == [block for block in whole if block.is_call]
    for kind in ("thoughts", "text", "refusal"):
        assert joined(texts, kind) == joined(whole, kind)


def joined(blocks, kind):
    return "".join(block.text for block in blocks if block.kind == kind)


@given(st.data(), messages(), st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
@settings(max_examples=80, deadline=None)
def test_streams_say_what_whole_answers_say_in_the_clients_own_types(data, message, finish):
    is_event, is_response, is_message_event, is_message = official()
    deltas = data.draw(streamed(message, is_mixed=False))
    response = response_of(RESPONSES, completion(message, finish))
    is_response(response)
    events = events_of(ResponseEvents(RESPONSES), pieces_of(deltas, finish))
    for number, event in enumerate(events):
        is_event(event)
        assert event["sequence_number"] == number
    assert events[-1]["response"] == response
    whole = message_of(MESSAGES, completion(message, finish))
    is_message(whole)
    events = events_of(MessageEvents(MESSAGES), pieces_of(deltas, finish))
    for event in events:
        is_message_event(event)
    assert [event["type"] for event in (events[0], *events[-2:])] == [
        *("message_start", "message_delta", "message_stop")
    ]
    told = events[-2]
    assert told["delta"] == {name: whole[name] for name in ("stop_reason", "stop_sequence")}
    assert told["usage"] == whole["usage"]
    assert whole["usage"]["input_tokens"] == 6


@given(messages())
@settings(max_examples=150, deadline=None)
def test_an_answer_sent_back_is_the_turn_that_it_was(message):
    """What an answer says comes back in the next request as the same turn; thoughts do not."""
    calls = message.get("tool_calls", [])
    said = [message[name] for name in ("content", "refusal") if message.get(name)]
    items = response_of(RESPONSES, completion(message))["output"]
    turns = ResponsesRequest(input=[{"role": "user", "content": "x"}, *items]).to_chat().for_expert()
    back = turns["messages"][1:]
    assert [call for turn in back for call in turn.get("tool_calls", ())] == calls
    assert [text for turn in back for text in texts_in(turn)] == said
    blocks = message_of(MESSAGES, completion(message))["content"]
    given_back = [{"role": "user", "content": "x"}, {"role": "assistant", "content": blocks}]
    turn = MessagesRequest(messages=given_back, max_tokens=9).to_chat().for_expert()["messages"][1]
    assert [json.loads(call["function"]["arguments"]) for call in turn.get("tool_calls", ())] == [
        json.loads(call["function"]["arguments"]) for call in calls
    ]
    assert "".join(texts_in(turn)) == "\n".join(said)


def texts_in(turn):
    content = turn["content"]
    if isinstance(content, list):
        return [part.get("text", part.get("refusal")) for part in content]
    return [content] if content else []


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
ODD_CALLS = st.lists(
    ODD
    | st.fixed_dictionaries(
        {},
        optional={"index": ODD, "id": ODD, "function": ODD, "custom": st.fixed_dictionaries({"input": ODD})},
    ),
    max_size=3,
)
ODD_DELTAS = st.fixed_dictionaries(
    {}, optional={"content": ODD, "reasoning": ODD, "refusal": ODD, "tool_calls": ODD_CALLS | ODD}
)


@given(st.lists(ODD_DELTAS, max_size=5), st.booleans(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_odd_pieces_make_streams_that_end_in_order(deltas, has_choices, breaks_off):
    """Pieces in a wrong order, or of a wrong kind, break no stream; an error ends it, and nothing follows."""
    pieces = pieces_of(deltas)[: None if has_choices else 0]
    failed = ApiError(502, "the answer broke off", code="stream_cut").body()
    pieces += [failed, *pieces] if breaks_off else []
    responses = [event["type"] for event in events_of(ResponseEvents(RESPONSES), pieces)]
    assert responses[-1] == ("response.failed" if breaks_off else "response.completed")
    assert sum(kind in ("response.failed", "response.completed") for kind in responses) == 1
    assert responses.count("response.output_item.added") >= responses.count("response.output_item.done")
    told = [event["type"] for event in events_of(MessageEvents(MESSAGES), pieces)]
    assert told[-1] == ("error" if breaks_off else "message_stop")
    assert told.count("message_stop") + told.count("error") == 1
    assert told.count("content_block_start") - told.count("content_block_stop") in (0, 1)


def test_arguments_that_are_no_object_are_shown_as_they_are():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{not json"}}
    (block,) = message_of(MESSAGES, completion({"content": None, "tool_calls": [call]}))["content"]
    assert block["input"] == {"INVALID_JSON": "{not json"}


def test_the_text_that_ended_an_answer_is_named():
    answer = completion({"content": "so"})
    answer["choices"][0]["stop_reason"] = "END"
    told = message_of(MESSAGES, answer)
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "END")


def test_log_probabilities_go_with_the_text():
    answer = completion({"content": "so"})
    token = {"token": "so", "logprob": -0.5, "bytes": [115], "top_logprobs": []}
    answer["choices"][0]["logprobs"] = {"content": [token]}
    asked = ResponsesRequest(input="x", include=["message.output_text.logprobs"])
    assert asked.to_chat().for_expert()["logprobs"] is True
    (item,) = response_of(asked, answer)["output"]
    assert item["content"][0]["logprobs"] == [token]


PDF = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
PNG = {"type": "base64", "media_type": "image/png", "data": "AAAA"}


def test_pictures_and_files_keep_their_place():
    parts = [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
    ]
    (turn,) = ResponsesRequest(input=[{"role": "user", "content": parts}]).to_chat().for_expert()["messages"]
    assert [part["type"] for part in turn["content"]] == ["text", "image_url", "file"]
    result = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "image", "source": PNG}]}
    blocks = [{"type": "text", "text": "see"}, {"type": "document", "source": PDF}, result]
    asked = MessagesRequest(messages=[{"role": "user", "content": blocks}], max_tokens=9)
    tool, user = asked.to_chat().for_expert()["messages"]
    assert tool["content"][0]["image_url"]["url"] == "data:image/png;base64,AAAA"
    assert [part["type"] for part in user["content"]] == ["text", "file"]


@pytest.mark.parametrize(
    ("choice", "left", "words"),
    [
        ("required", ["f", "g"], "required"),
        ({"type": "function", "name": "g"}, ["f", "g"], {"type": "function", "function": {"name": "g"}}),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]},
            ["g"],
            "auto",
        ),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, [], None),
    ],
)
def test_tools_that_are_allowed_are_those_that_are_offered(choice, left, words):
    tools = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in ("f", "g")]
    body = ResponsesRequest(input="x", tools=tools, tool_choice=choice).to_chat().for_expert()
    assert [tool["function"]["name"] for tool in body.get("tools", [])] == left
    assert body.get("tool_choice") == words


def test_our_limits_hold_in_every_dialect():
    limits = {"max_cost_usd": 0.5, "experts": ["able"], "max_experts_asked": 2, "max_latency_s": 3.0}
    turns = [{"role": "user", "content": "x"}]
    asked = (ResponsesRequest(input="x", **limits), MessagesRequest(messages=turns, max_tokens=9, **limits))
    for request in asked:
        chat = request.to_chat()
        assert {name: getattr(chat, name) for name in limits} == limits
        assert not limits.keys() & chat.for_expert().keys()


def test_blocks_of_nothing_are_none():
    assert blocks_of({"content": None}) == []
    assert blocks_of({"content": "a", "tool_calls": None}) == [Block("text", "a")]
    assert [type(event) for event in BlockStream().end()] == []


def test_a_namespace_is_part_of_the_name_and_comes_back():
    function = {"type": "function", "name": "find", "parameters": {"type": "object"}}
    space = {"type": "namespace", "name": "crm", "description": "d", "tools": [function]}
    asked = ResponsesRequest(input="x", tools=[space, function])
    names = [tool["function"]["name"] for tool in asked.to_chat().for_expert()["tools"]]
    assert names == ["crm__find", "find"]
    calls = [
        {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in names
    ]
    items = response_of(asked, completion({"content": None, "tool_calls": calls}))["output"]
    assert [(item["name"], item.get("namespace")) for item in items] == [("find", "crm"), ("find", None)]
    (turn,) = ResponsesRequest(input=items).to_chat().for_expert()["messages"]
    assert [call["function"]["name"] for call in turn["tool_calls"]] == names
    events = events_of(ResponseEvents(asked), pieces_of([{"tool_calls": [{"index": 0, **calls[0]}]}]))
    done = next(event for event in events if event["type"] == "response.output_item.done")
    assert (done["item"]["name"], done["item"]["namespace"]) == ("find", "crm")
    for odd in ({"tools": "x"}, {"tools": ["x"]}, {"name": 3}, {"tools": [space]}):
        with pytest.raises(ApiError):
            ResponsesRequest(input="x", tools=[{**space, **odd}]).to_chat()
