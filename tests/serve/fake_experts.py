"""Experts that answer without an engine, for the paths between a request and its answer."""

from collections.abc import AsyncIterator
from typing import Any

from experts import load_catalogue
from serve.experts.handle import OpenStream
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.messages import Life, Unbooked
from serve.router.deployment import Loaded, rule_all
from serve.router.messages import Query, Ruling
from serve.wire.api_errors import ExpertFailure
from warehouse import InputError


class LocalRouter:
    """The real orchestrator, without Ray around it."""

    def __init__(self, orchestrator, challenger=None):
        self.champion = Loaded("v1", orchestrator)
        self.challenger = challenger and Loaded("v2", challenger)

    async def decide(self, query: Query) -> Ruling:
        (ruling,) = rule_all(self.champion, self.challenger, [query], canary_share=0, shadow=True)
        if isinstance(ruling, InputError):
            raise ruling
        return ruling

    async def version(self) -> str:
        return "v1"


class ScriptedExpert:
    """Fails as its script says, one entry a request, and answers once the script is done."""

    def __init__(self, name: str, *script: ExpertFailure, cut_after: int | None = None):
        self.spec = load_catalogue().get(name)
        self.script = list(script)
        self.cut_after = cut_after
        self.bodies: list[dict[str, Any]] = []
        self.running = True

    async def is_running(self):
        return self.running

    async def answer(self, body: dict[str, Any], timeout_s: float):
        self.bodies.append(body)
        if self.script:
            return self.script.pop(0)
        is_chat = "messages" in body
        words = f"{self.spec.name} says hello"
        said = {"message": {"role": "assistant", "content": words}} if is_chat else {"text": words}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion" if is_chat else "text_completion",
            "created": 1,
            "model": self.spec.name,
            "choices": [{"index": 0, **said, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        }

    async def open_stream(self, body: dict[str, Any], timeout_s: float):
        self.bodies.append(body)
        if self.script:
            return self.script.pop(0)
        return OpenStream(self._piece({"role": "assistant", "content": ""}), self._rest())

    async def _rest(self) -> AsyncIterator[dict[str, Any] | ExpertFailure]:
        for index, word in enumerate(("one", "two", "three")):
            if index == self.cut_after:
                yield ExpertFailure(502, "the replica died")
                return
            yield self._piece({"content": word})
        yield self._piece({}, finish_reason="stop")
        usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        yield self._piece({}) | {"choices": [], "usage": usage}

    def _piece(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self.spec.name,
            "choices": choices,
        }


class LocalLedger:
    """The real ledger, without Ray around it."""

    def __init__(self, config):
        self._bookkeeper = Bookkeeper(config)
        self.life = Life()
        self.identify = self._bookkeeper.identify
        self.add_feedback = self._bookkeeper.add_feedback
        self.figures = self._bookkeeper.figures

    async def reserve(self, reservation):
        return await self._one(reservation)

    async def extend(self, extension):
        return await self._one(extension)

    async def settle(self, settlement):
        return await self._one(settlement)

    async def _one(self, entry):
        (written,) = await self._bookkeeper.write([entry])
        assert not isinstance(written, Unbooked), written
        return written
