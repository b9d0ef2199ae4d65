"""The response cache of an ingress: what it keeps of answers, and how one is given again."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

import orjson

from serve.config import ServeConfig
from serve.experts.client import Body
from serve.ledger.messages import Caller, Figures
from serve.request.cache.fitting import Wanted, wanted_of
from serve.request.cache.kept_answers import Hit, KeptAnswers
from serve.request.in_flight import CompletionRequest, InFlight
from serve.request.usable.held_stream import stream_of
from serve.request.usable.whole_answer import WholeReply
from serve.wire.request_headers import RequestHeaders

logger = logging.getLogger("ray.serve")

CACHE = "leeroo:cache"  # takes an expert's place in sums; no expert may be called so
_WHOLE = ("stop", "length")
_ROUGHLY = 1_000  # bytes that an answer takes beside its content
_OF_ONE_REQUEST = ("remaining_usd", "tried", "asked", "probability")


class ResponseCache:
    """Answers of this process. Nothing of them is written anywhere.

    Args:
        config: whether there is a cache at all, and of which kind.
    """

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self.generation = 0  # of experts that answer; what was asked of an earlier one is not kept
        self._kept = KeptAnswers(
            int(config.cache_mb * 1_000_000), config.cache_ttl_s, config.cache_similarity
        )

    @property
    def size(self) -> int:
        """Bytes of what is kept, about."""
        return self._kept.size

    def read(self, request: CompletionRequest, caller: Caller, headers: RequestHeaders) -> Wanted | None:
        """Return a request as the cache sees it; None where it has nothing to do with it."""
        if self._config.cache == "off":
            return None
        return wanted_of(self._config, request, caller, headers.cache_control)

    def find(self, wanted: Wanted) -> Hit | None:
        """Return the answer to the same request."""
        return self._kept.find(wanted)

    def find_near(self, wanted: Wanted, job: InFlight) -> Hit | None:
        """Return the answer to a question that means the same, by the router's own embedding.

        A request whose expert was drawn to learn of it wants that expert's answer.
        """
        features = None if job.plan.ruling is None else job.plan.ruling.features
        if features is None or job.plan.explored or self._config.cache != "semantic":
            return None
        return self._kept.find_near(wanted, features.embedder, features.embedding)

    def keep(self, wanted: Wanted, job: InFlight, generation: int, reply: WholeReply) -> None:
        """Keep an answer that is whole and usable, and that the same request would get again.

        An answer is not lost because it cannot be kept.
        """
        if generation != self.generation:
            return
        try:
            self._keep(wanted, job, reply)
        except Exception as error:  # its message may hold a text
            logger.error("%s: an answer cannot be kept (%s)", job.request_id, type(error).__name__)

    def _keep(self, wanted: Wanted, job: InFlight, reply: WholeReply) -> None:
        answer, report = reply.answer, reply.report
        choices = answer.body.get("choices")
        temperature = getattr(job.request, "temperature", None)
        if choices is not None and temperature is None:
            spec = next((one.spec for one in job.order if one.spec.name == report["expert"]), None)
            temperature = 1.0 if spec is None else spec.temperature
        if temperature and not self._config.cache_sampled:
            return
        if report.get("unusable") is not None or not all(map(_is_whole, choices or ())):
            return
        size = len(orjson.dumps((answer.body, report))) + _ROUGHLY
        kept = {name: value for name, value in report.items() if name not in _OF_ONE_REQUEST}
        features = None if job.plan.ruling is None else job.plan.ruling.features
        if features is None:
            self._kept.keep(wanted, answer, kept, size)
        else:
            self._kept.keep(wanted, answer, kept, size, features.embedder, features.embedding)

    def clear(self) -> None:
        """Forget everything: experts have changed."""
        self.generation += 1
        self._kept.clear()


def reply_from(hit: Hit, request_id: str, began: float) -> WholeReply:
    """Return an answer that was given before, with the report on giving it again.

    Args:
        hit: the answer.
        request_id: of the request that is answered now.
        began: when, on the clock of ``time.monotonic``.
    """
    kept = hit.kept
    told: dict[str, Any] = {"kind": hit.kind, "age_s": round(hit.age_s, 3)}
    told["request_id"] = kept.report["request_id"]
    if hit.similarity is not None:
        told["similarity"] = round(hit.similarity, 4)
    report = kept.report | {
        "request_id": request_id,
        "reason": f"from the cache: {kept.report['expert']} answered it {hit.age_s:.0f} s ago",
        "tried": [],
        "expert_s": 0.0,
        "latency_s": round(time.monotonic() - began, 4),
        "expert_cost_usd": 0.0,
        "cost_usd": 0.0,
        "cache": told,
    }
    return WholeReply(kept.answer, report)


async def replayed(reply: WholeReply, *, wants_usage: bool) -> AsyncGenerator[Body, None]:
    """Yield an answer that was given before as the pieces of a stream."""
    for piece in stream_of(reply, time.monotonic() - reply.report["latency_s"], wants_usage=wants_usage):
        yield piece


def figures_of(hit: Hit, began: float) -> Figures:
    """Return an answer from the cache as the operator counts it."""
    return Figures(CACHE, hit.kept.answer.usage.to_openai(), time.monotonic() - began)


def new_request_id() -> str:
    """Return the name of a request that asks nobody."""
    return f"req-{uuid.uuid4().hex}"


def _is_whole(choice: dict[str, Any]) -> bool:
    said = choice.get("message") or {}
    return choice.get("finish_reason") in _WHOLE and not said.get("tool_calls")
