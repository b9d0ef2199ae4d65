"""The pieces of a stream's choices, in OpenAI's shape whatever came."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from experts.upstream.shape import choices as shape


@dataclass
class _Call:
    """A tool call on its way."""

    index: int
    call_id: str = ""
    kind: str = "function"
    name: str = ""
    held: str = ""  # arguments that came before the name
    is_told: bool = False


@dataclass
class ChoiceStream:
    """What has come of one choice.

    Each piece is put into OpenAI's shape. The halves of a surrogate pair that was split between pieces are
    joined. Of a tool call the piece with its id and name goes first, whatever the order they come in, and
    neither is repeated: clients add up what they get. Calls that share an index are told apart by their ids.
    """

    index: int
    finish: str | None = None
    error: Any = None
    written: int = 0
    shows: bool = False
    has_calls: bool = False
    _halves: dict[str, str] = field(default_factory=dict)
    _calls: dict[str, _Call] = field(default_factory=dict)  # by upstream's index, or else its id
    _last: _Call | None = None
    _all: list[_Call] = field(default_factory=list)

    def read(self, entry: dict[str, Any], *, is_chat: bool) -> tuple[dict[str, Any] | None, bool]:
        """Return a piece as a client sees it (None for an error), and whether it shows anything."""
        delta = entry.get("delta")
        if delta is None:
            delta = entry.get("message")
        if not isinstance(delta, dict):
            delta = {"content": delta if delta is not None else entry.get("text")}
            delta = {} if delta["content"] is None else delta
        read = self._join(shape.read_message(delta))
        calls = self._read_calls(delta.get("tool_calls"))
        written = shape.written_characters(read) + sum(map(shape.characters_of_call, calls))
        shows = written > 0 or any(name in read for name in ("audio", "images")) or bool(calls)
        self.written += written
        self.shows |= shows
        finish, error = shape.read_finish(entry)
        if error is not None:
            self.error = error
            return None, False
        says_more = self.finish is None and finish is not None
        self.finish = self.finish or finish
        if calls:
            read["tool_calls"] = calls
            self.has_calls = True
        if is_chat:
            role = {"role": "assistant"} if delta.get("role") else {}
            body: dict[str, Any] = {"index": self.index, "delta": role | read}
        else:
            body = {"index": self.index, "text": read.get("content") or ""}
        body["finish_reason"] = finish if says_more else None
        if (logprobs := shape.read_logprobs(entry.get("logprobs"))) is not None:
            body["logprobs"] = logprobs
        return body, shows

    def rest(self) -> dict[str, Any]:
        """Return what is held back at the end: half surrogates that never found their other half."""
        return {name: "\ufffd" for name, half in self._halves.items() if half}

    def _join(self, read: dict[str, Any]) -> dict[str, Any]:
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            text = read.get(name)
            if not isinstance(text, str) or not text:
                continue
            text = self._halves.pop(name, "") + text
            if "\ud800" <= text[-1] <= "\udbff":
                self._halves[name], text = text[-1], text[:-1]
            read[name] = text
        return read

    def _read_calls(self, told: Any) -> list[dict[str, Any]]:
        entries = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
        pieces = [self._read_call(entry) for entry in entries]
        return [piece for piece in pieces if piece is not None]

    def _read_call(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        call_id, kind, name, arguments = shape.read_call(entry)
        call = self._call_of(shape.index_of(entry), call_id, name)
        call.call_id = call.call_id or call_id
        slot = "input" if kind == "custom" else "arguments"
        if call.is_told:
            return {"index": call.index, kind: {slot: arguments}} if arguments else None
        call.name, call.kind = call.name or name, kind
        call.held += arguments
        if not call.name:
            return None
        call.is_told = True
        made_up = f"call_{self.index}_{call.index}"
        return {"index": call.index, **shape.word_call(call.call_id or made_up, kind, call.name, call.held)}

    def _call_of(self, index: int | None, call_id: str, name: str) -> _Call:
        """Return the call that a piece belongs to, a new one where it begins one."""
        key = f"at {index}" if index is not None else f"id {call_id}" if call_id else ""
        call = self._calls.get(key) if key else self._last
        is_other = bool(call and name and call_id and call.call_id and call.call_id != call_id)
        if call is not None and not key and name and call.is_told:
            is_other = True  # no index and no id, but another name: a further call
        if call is None or is_other:
            call = _Call(len(self._all))
            self._all.append(call)
        if key:
            self._calls[key] = call
        self._last = call
        return call
