"""The router reads the last text of the user, and of the rest of a request nothing."""

import asyncio
import sys
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import FixedRouter, LocalLedger, ScriptedExpert

from serve.config import ServeConfig
from serve.request.gateway import Gateway
from serve.wire.protocol import ChatRequest

WORDS = st.text(alphabet="abc \n?é", max_size=30)
SAID = WORDS.filter(str.strip)
CALL = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
EARLIER = st.one_of(
    st.builds(lambda text: {"role": "system", "content": text}, WORDS),
    st.builds(lambda text: {"role": "user", "content": text}, SAID),
    st.builds(lambda text: {"role": "assistant", "content": text}, SAID),
)
LATER = st.one_of(
    st.just({"role": "assistant", "content": None, "tool_calls": [CALL]}),
    st.builds(lambda text: {"role": "tool", "tool_call_id": "c", "content": text}, SAID),
    st.builds(lambda text: {"role": "user", "content": text}, st.sampled_from(["", " \n"])),
    st.just({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}),
)
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Look something up."}}]


@given(
    earlier=st.lists(EARLIER, max_size=4),
    asked=SAID,
    later=st.lists(LATER, max_size=4),
    in_parts=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_it_is_the_last_text_of_the_user_whatever_stands_around_it(earlier, asked, later, in_parts):
    content = [{"type": "text", "text": asked}] if in_parts else asked
    messages = [*earlier, {"role": "user", "content": content}, *later]
    read = ChatRequest(model="leeroo", messages=messages).query
    assert read.strip() == asked.strip()
    more = {
        "tools": TOOLS,
        "metadata": {"task": "support"},
        "user": "ann",
        "response_format": {"type": "text"},
    }
    assert ChatRequest(model="leeroo", messages=messages, **more).query == read


@given(texts=st.lists(SAID, min_size=1, max_size=4))
def test_without_a_text_of_the_user_it_is_the_last_text_there_is(texts):
    messages = [{"role": "system", "content": text} for text in texts]
    messages.append({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]})
    assert ChatRequest(model="leeroo", messages=messages).query.strip() == texts[-1].strip()


def test_the_endpoint_asks_the_router_by_that_text_alone():
    """Tools, a system prompt and a task change what an expert is sent, never what decides on it."""
    seen = []

    class Watching(FixedRouter):
        async def decide(self, query):
            seen.append(query)
            return await super().decide(query)

    system = {"role": "system", "content": "You are a pirate."}
    turn = {"role": "user", "content": "How far is it?"}
    plain = ChatRequest(model="leeroo", messages=[turn])
    laden = ChatRequest(model="leeroo", messages=[system, turn], tools=TOOLS, metadata={"task": "maps"})

    async def run():
        config = ServeConfig(home=Path(tempfile.mkdtemp(prefix="leeroo-test-")), access="open")
        experts = {"smollm2-135m": ScriptedExpert("smollm2-135m")}
        gateway = Gateway(config, Watching("smollm2-135m"), LocalLedger(config), experts)
        caller = await gateway.ledger.identify(None)
        for request in (plain, laden):
            await gateway.answer(request, caller)
        await gateway.drain(10.0)

    asyncio.run(run())
    assert seen[0].text == "How far is it?"
    assert seen[0] == seen[1]
