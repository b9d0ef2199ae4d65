"""A streamed reply, judged piece by piece: clean pieces in OpenAI's shape, or a failure of a stated kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from experts.upstream.counting import TokenCounter
from experts.upstream.failure import Failure, FailureKind
from experts.upstream.reading import Answer, frame_of, is_error, nothing_in, read_reply
from experts.upstream.refusals.error_reply import read_error
from experts.upstream.request import Ask
from experts.upstream.shape.choices import index_of
from experts.upstream.shape.deltas import ChoiceStream
from experts.upstream.shape.events import Event, EventReader
from experts.upstream.shape.json_text import clean
from experts.upstream.usage import Usage
from experts.upstream.usage_told import count_usage, read_usage


@dataclass(frozen=True)
class Piece:
    """A piece of an answer in OpenAI's shape; ``shows`` where it holds what a client then has seen."""

    body: dict[str, Any]
    shows: bool


class StreamReader:
    """Reads one stream.

    Pieces hold choices, each with a delta (or a text); token counts stand in :attr:`usage` alone. A failure
    is the last thing it gives. After ``[DONE]``, or a reason to end for every choice, nothing is a failure.

    Args:
        ask: what was asked.
        counter: of the expert; learns from bills that can be believed.
        headers: of the reply, for its failures.
        sent: the fields as they were sent, where a dialect words them otherwise.
        secrets: what nothing that is passed on may hold.
    """

    def __init__(
        self,
        ask: Ask,
        counter: TokenCounter,
        *,
        headers: Mapping[str, str] | None = None,
        sent: Mapping[str, Any] | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        self._ask, self._counter = ask, counter
        self._headers, self._sent, self._secrets = headers or {}, sent, tuple(secrets)
        self._events = EventReader()
        self._frame: dict[str, Any] | None = None
        self._choices: dict[int, ChoiceStream] = {}
        self._told: Any = None
        self._written_when_told = 0
        self._final: Usage | None = None
        self._is_over = False

    @property
    def usage(self) -> Usage:
        """What has come of it so far: as told, where that can be believed, else our own count."""
        if self._final is not None:
            return self._final
        if self._told is None:
            return count_usage(self._ask, self._counter, self._written)
        told = read_usage(self._told, self._ask, self._counter, self._written_when_told, is_final=False)
        if self._written == self._written_when_told:
            return told
        more = self._counter.written_tokens(self._written - self._written_when_told)
        most = int(min(self._ask.most_completion_tokens, 1e18))
        return replace(told, completion_tokens=min(told.completion_tokens + more, most), is_estimated=True)

    @property
    def is_over(self) -> bool:
        """Whether the answer has ended, well or not."""
        return self._is_over

    @property
    def _written(self) -> int:
        return sum(choice.written for choice in self._choices.values())

    @property
    def _shows(self) -> bool:
        return any(choice.shows for choice in self._choices.values())

    @property
    def _is_finished(self) -> bool:
        return bool(self._choices) and all(choice.finish for choice in self._choices.values())

    def feed(self, data: bytes) -> list[Piece | Failure]:
        """Return what these bytes complete."""
        return [] if self._is_over else self._read(self._events.feed(data))

    def end(self) -> list[Piece | Failure]:
        """Return what is left when no more bytes come."""
        return [] if self._is_over else self._end()

    def _end(self) -> list[Piece | Failure]:
        read = self._read(self._events.end())
        if self._is_over:
            return read
        if not self._choices and self._told is None and self._events.stray.strip():
            return read + self._read_unstreamed(bytes(self._events.stray))
        if self._is_finished:
            return read + self._finish()
        return [*read, self._fail(FailureKind.CUT_STREAM, "the API's stream ended before the answer did")]

    def break_off(
        self, kind: FailureKind, message: str, *, in_time_of_caller: bool = False
    ) -> list[Piece | Failure]:
        """Return what is left when the connection broke, or the time was up."""
        if self._is_over:
            return []
        if self._is_finished:
            return self.end()
        failure = self._fail(kind, message)
        return [replace(failure, in_time_of_caller=in_time_of_caller)]

    def _read(self, events: list[Event]) -> list[Piece | Failure]:
        read: list[Piece | Failure] = []
        for event in events:
            if self._is_over:
                break
            if event.is_done:
                read += self._finish()
            elif event.is_broken:
                if not self._is_finished:
                    read.append(self._fail(FailureKind.MALFORMED, "the API sent a piece that breaks off"))
            elif isinstance(event.content, dict):
                read += self._read_content(event.content, event.name)
        return read

    def _read_content(self, content: dict[str, Any], name: str) -> list[Piece | Failure]:
        entries = content.get("choices")
        entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        if content.get("error") or (
            not entries and (name == "error" or ("choices" not in content and is_error(content)))
        ):
            return [] if self._is_finished else [self._refuse(content)]
        bodies, shows = [], False
        for position, entry in enumerate(entries):
            choice = self._choice_of(index_of(entry), position)
            body, shows_more = choice.read(entry, is_chat=self._ask.is_chat)
            if body is None:
                return [self._refuse({"error": choice.error})]
            bodies.append(body)
            shows |= shows_more
        if told := content.get("usage"):
            self._told, self._written_when_told = told, self._written
        return self._word(content, bodies, shows)

    def _choice_of(self, index: int | None, position: int) -> ChoiceStream:
        index = position if index is None else index
        if index >= self._ask.answers:
            index = 0 if self._ask.answers == 1 else min(position, self._ask.answers - 1)
        return self._choices.setdefault(index, ChoiceStream(index))

    def _word(
        self, content: dict[str, Any], bodies: list[dict[str, Any]], shows: bool
    ) -> list[Piece | Failure]:
        if self._frame is None:
            self._frame = frame_of(content, self._ask, streamed=True)
        if not bodies:
            return []
        try:
            return [Piece(clean(self._frame | {"choices": bodies}, hide=self._secrets), shows)]
        except ValueError as error:
            return [self._fail(FailureKind.MALFORMED, f"the API sent a piece that is {error}")]

    def _finish(self) -> list[Piece | Failure]:
        """End the answer: choices without a reason to end get one, halves that were held back go out."""
        self._final = self._final_usage()
        finishes = [choice.finish for choice in self._choices.values()]
        if not self._choices:
            return [self._fail(FailureKind.EMPTY, "the API sent a stream without choices")]
        if failure := nothing_in(self._ask, finishes, self._shows, self._final):
            self._is_over = True
            return [failure]
        bodies = []
        for choice in self._choices.values():
            rest = choice.rest()
            if choice.finish is not None and not rest:
                continue
            part = {"delta": rest} if self._ask.is_chat else {"text": rest.get("content", "")}
            missing = None if choice.finish else ("tool_calls" if choice.has_calls else "stop")
            bodies.append({"index": choice.index, **part, "finish_reason": missing})
        read = self._word({}, bodies, any(choice.rest() for choice in self._choices.values()))
        self._is_over = True
        return read

    def _final_usage(self) -> Usage:
        if self._told is not None and self._written == self._written_when_told:
            return read_usage(self._told, self._ask, self._counter, self._written)
        return self.usage

    def _read_unstreamed(self, body: bytes) -> list[Piece | Failure]:
        """Read a whole reply that came in place of a stream."""
        reply = read_reply(
            self._ask, 200, self._headers, body, self._counter, sent=self._sent, secrets=self._secrets
        )
        self._is_over = True
        self._final = reply.usage
        return [reply] if isinstance(reply, Failure) else list(pieces_of(reply))

    def _refuse(self, content: Any) -> Failure:
        usage = self.usage
        self._is_over, self._final = True, usage
        return read_error(
            self._ask, 200, self._headers, content, sent=self._sent, secrets=self._secrets, usage=usage
        )

    def _fail(self, kind: FailureKind, message: str) -> Failure:
        usage = self.usage
        self._is_over, self._final = True, usage
        return Failure(kind, message, 200, usage=usage)


def pieces_of(answer: Answer) -> Iterable[Piece]:
    """Yield a whole answer as the pieces of a stream: one with all content, one with the reasons to end."""
    frame = {name: answer.body[name] for name in ("id", "created", "model")}
    is_chat = answer.body["object"] == "chat.completion"
    frame["object"] = "chat.completion.chunk" if is_chat else "text_completion"
    said, ends = [], []
    for choice in answer.body["choices"]:
        if is_chat:
            delta = dict(choice["message"])
            if "tool_calls" in delta:
                delta["tool_calls"] = [{"index": at, **call} for at, call in enumerate(delta["tool_calls"])]
            part: dict[str, Any] = {"delta": delta}
        else:
            part = {"text": choice["text"]}
        said.append({"index": choice["index"], **part, "finish_reason": None, "logprobs": choice["logprobs"]})
        end: dict[str, Any] = {"delta": {}} if is_chat else {"text": ""}
        ends.append({"index": choice["index"], **end, "finish_reason": choice["finish_reason"]})
    yield Piece(frame | {"choices": said}, True)
    yield Piece(frame | {"choices": ends}, False)
