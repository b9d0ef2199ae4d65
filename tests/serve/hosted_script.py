"""``leeroo`` whose vLLM experts are a script: a replica answers at once, with the name of its node."""

import asyncio
import os

import ray

from experts.upstream import Usage
from pipelines.cli import main
from serve.experts.client import StreamPiece, WholeAnswer
from serve.experts.deployments import DEPLOYMENTS, Hosted, cpus_of
from serve.transport.alone import is_alone
from serve.transport.local_stream import StreamServer

USAGE = Usage(10, 2)


class Scripted:
    def __init__(self, spec):
        self._spec = spec
        self._local = StreamServer(self.answer, self.stream, at_once=64, most_waiting=256)

    async def address(self):
        return await self._local.address() if await is_alone() else None

    async def answer(self, body, timeout_s):
        await asyncio.sleep(0.05)
        return WholeAnswer(self._told("chat.completion", "message", self._node()), USAGE)

    async def stream(self, body, timeout_s):
        for word in (self._node(), " says", " so"):
            await asyncio.sleep(0.02)
            yield StreamPiece(self._told("chat.completion.chunk", "delta", word), True, USAGE)
        yield StreamPiece(self._told("chat.completion.chunk", "delta", "", "stop"), False, USAGE)
        yield StreamPiece({}, False, USAGE)

    def _node(self):
        return ray.util.get_node_ip_address()

    def _told(self, kind, name, words, reason=None):
        said = {"role": "assistant", "content": words}
        choice = {"index": 0, name: said, "finish_reason": "stop" if name == "message" else reason}
        told = {"id": "c", "object": kind, "created": 1, "model": self._spec.name, "choices": [choice]}
        return told | ({"usage": USAGE.to_openai()} if name == "message" else {})


def actor_of(spec):
    return {"num_cpus": cpus_of(spec), "label_selector": spec.resources.node_labels}


if __name__ == "__main__":
    DEPLOYMENTS["vllm"] = Hosted(Scripted, lambda _spec: 64, actor_of)
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()
