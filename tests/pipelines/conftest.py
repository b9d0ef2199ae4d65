"""An OpenAI-compatible server whose replies a test writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.scripted_api import ChatHandler, completion, serve_chat

#: (model, prompt) -> the reply's text
Script = Callable[[str, str], str]


@pytest.fixture
def scripted_server() -> Iterator[Callable[[Script], str]]:
    """Start servers; each call returns the base URL of one that replies as its script says."""
    with ExitStack() as servers:

        def start(script: Script) -> str:
            class Handler(ChatHandler):
                def act(self, body: dict[str, Any]) -> None:
                    prompt = body["messages"][-1]["content"]
                    text = script(body["model"], prompt)
                    tokens = (len(prompt) // 4, max(1, len(text) // 4))
                    self.reply(completion(text, body["model"], tokens=tokens))

            return servers.enter_context(serve_chat(Handler))

        yield start
