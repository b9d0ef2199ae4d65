"""A server that streams although a whole answer was asked for has answered."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from experts.upstream import Answer, Failure, FailureKind, Usage, pool
from tests.experts.upstream.asking import END, ROLE, answer_fine, ask, events
from tests.experts.upstream.scripted_socket import piece


def call(index: int, **inner: Any) -> dict[str, Any]:
    name = {"id": f"c{index}"} if "name" in inner else {}
    return {"tool_calls": [{"index": index, **name, "function": inner}]}


def test_its_pieces_are_put_together() -> None:
    bill = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    act = events(
        ROLE, piece({"reasoning": "Hm."}), piece({"content": "It is "}), piece({"content": "so."}), END, bill
    )
    reply, _ = ask(act)
    assert isinstance(reply, Answer)
    assert (reply.text, reply.finish_reason, reply.usage) == ("It is so.", "stop", Usage(9, 3))
    assert reply.body["choices"][0]["message"]["reasoning"] == "Hm."
    assert reply.body["object"] == "chat.completion"
    json.dumps(reply.body, allow_nan=False)


def test_calls_of_tools_are_put_together_each_by_itself() -> None:
    act = events(
        piece(call(0, arguments="{")),
        piece(call(1, name="g", arguments="[")),
        piece(call(0, name="f", arguments="1")),
        piece(call(1, arguments="2]")),
        piece(call(0, arguments="}")),
        piece({}, "tool_calls"),
    )
    reply, _ = ask(act)
    assert isinstance(reply, Answer)
    calls = reply.body["choices"][0]["message"]["tool_calls"]
    assert {one["function"]["name"]: one["function"]["arguments"] for one in calls} == {
        "f": "{1}",
        "g": "[2]",
    }
    assert all("index" not in one for one in calls)


def test_one_that_ends_before_its_answer_is_a_failure() -> None:
    reply, _ = ask(events(ROLE, piece({"content": "It"}), done=False))
    assert isinstance(reply, Failure)
    assert reply.kind is FailureKind.CUT_STREAM


def test_certificates_are_not_read_within_the_time_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    read = pool.tls_context

    def read_slowly() -> Any:
        time.sleep(1.0)
        return read()

    monkeypatch.setattr(pool, "tls_context", read_slowly)
    reply, _ = ask(answer_fine, timeout_s=0.8)
    assert isinstance(reply, Answer), reply


def test_a_key_that_comes_in_two_pieces_is_hidden() -> None:
    act = events(piece({"content": "my key is sk-abc"}), piece({"content": "defgh."}), END)
    reply, _ = ask(act, key="sk-abcdefgh")
    assert isinstance(reply, Answer)
    assert "abcdefgh" not in json.dumps(reply.body)
