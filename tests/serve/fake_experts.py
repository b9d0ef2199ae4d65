"""Experts that answer without an engine, for the paths between a request and its answer."""

from collections.abc import AsyncGenerator
from typing import Any

from experts import load_catalogue
from experts.upstream import Ask, Failure, FailureKind, TokenCounter, Usage
from experts.upstream.usage_told import count_usage
from orchestrator import Decision
from orchestrator.selection.presets import Preset
from serve.experts.client import StreamPiece, WholeAnswer, read_opening
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.messages import Life, Unbooked
from serve.router.deciding import Loaded, rule_all
from serve.router.messages import Query, Refused, Ruling

BROKEN = Failure(FailureKind.SERVER_ERROR, "engine dead")
BUSY = Failure(FailureKind.BUSY, "busy")
TOO_LONG = Failure(FailureKind.CONTEXT_OVERFLOW, "too long")
SLOW = Failure(FailureKind.TIMEOUT, "slow")
USAGE = Usage(130, 20)


class LocalRouter:
    """The real orchestrator, without Ray around it."""

    def __init__(self, orchestrator, challenger=None):
        self.champion = Loaded("v1", orchestrator)
        self.challenger = challenger and Loaded("v2", challenger)

    async def decide(self, query: Query) -> Ruling:
        (ruling,) = rule_all(self.champion, self.challenger, [query], canary_share=0, shadow=True)
        if isinstance(ruling, Refused):
            raise ruling
        return ruling

    async def version(self) -> str:
        return "v1"

    async def versions(self):
        return "v1", self.challenger and "v2"

    async def presets(self):
        return self.champion.orchestrator.presets


class ScriptedExpert:
    """Fails as its script says, one entry a request, and answers once the script is done."""

    at_once = None

    def __init__(self, name: str, *script: Failure, cut_after: int | None = None):
        self.spec = load_catalogue().get(name)
        self.script = list(script)
        self.cut_after = cut_after
        self.bodies: list[dict[str, Any]] = []
        self.running = True

    async def is_running(self):
        return self.running

    async def answer(self, ask: Ask, timeout_s: float):
        body = ask.body
        self.bodies.append(body)
        if self.script:
            return self.script.pop(0)
        is_chat = "messages" in body
        words = f"{self.spec.name} says hello"
        said = {"message": {"role": "assistant", "content": words}} if is_chat else {"text": words}
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion" if is_chat else "text_completion",
            "created": 1,
            "model": self.spec.name,
            "choices": [{"index": 0, **said, "finish_reason": "stop"}],
            "usage": USAGE.to_openai(),
        }
        return WholeAnswer(answer, USAGE)

    async def open_stream(self, ask: Ask, timeout_s: float):
        self.bodies.append(ask.body)
        if self.script:
            return self.script.pop(0)
        return await read_opening(self._counted(ask))

    async def _counted(self, ask: Ask) -> AsyncGenerator[StreamPiece | Failure, None]:
        written, counter = 0, TokenCounter(self.spec)
        async for piece in self._rest():
            if isinstance(piece, Failure):
                yield piece
                return
            text = (piece["choices"][0]["delta"].get("content") or "") if piece["choices"] else ""
            written += len(text)
            yield StreamPiece(piece, bool(text), count_usage(ask, counter, written))
        yield StreamPiece({}, False, USAGE)

    async def _rest(self) -> AsyncGenerator[dict[str, Any] | Failure, None]:
        yield self._piece({"role": "assistant", "content": ""})
        for index, word in enumerate(("one", "two", "three")):
            if index == self.cut_after:
                yield Failure(FailureKind.BROKEN_CONNECTION, "the replica died")
                return
            yield self._piece({"content": word})
        yield self._piece({}, finish_reason="stop")

    def _piece(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self.spec.name,
            "choices": choices,
        }


class VectorExpert(ScriptedExpert):
    """Offers embeddings and rerank, and no chat."""

    def __init__(self, name: str):
        super().__init__("smollm2-135m")
        self.spec = self.spec.model_copy(update={"name": name, "offers": ("embeddings", "rerank")})

    async def answer(self, ask: Ask, timeout_s: float):
        self.bodies.append(ask.body)
        told = {"model": self.spec.name, "usage": USAGE.to_openai()}
        if "documents" in ask.body:
            return WholeAnswer({"id": "r", "results": [{"index": 0, "relevance_score": 0.5}], **told}, USAGE)
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        return WholeAnswer({"object": "list", "data": data, **told}, USAGE)


class LocalLedger:
    """The real ledger, without Ray around it."""

    def __init__(self, config):
        self._bookkeeper = Bookkeeper(config)
        self.life = Life()
        self.identify = self._bookkeeper.identify
        self.add_feedback = self._bookkeeper.add_feedback
        self.figures = self._bookkeeper.figures
        self.overview = self._bookkeeper.overview
        self.administer = self._bookkeeper.administer

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


class FixedRouter:
    """Decides as it is told, and forecasts the same for everyone."""

    def __init__(self, *order: str):
        self.order = order

    async def decide(self, query: Query) -> Ruling:
        names = [name for name in self.order if name in query.allow and name not in query.deny]
        forecasts = dict.fromkeys(self.order, 0.5)
        return Ruling(Decision(names[0], tuple(names[1:]), forecasts, forecasts, 0.0, "told so"), "v1")

    async def version(self) -> str:
        return "v1"

    async def versions(self):
        return "v1", None

    async def presets(self):
        return {"quality": Preset(0.0)}
