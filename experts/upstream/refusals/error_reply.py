"""An upstream's refusal: what kind of failure it is, by its status and its vendor's words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from experts.upstream.credentials import hide, scrub
from experts.upstream.failure import Failure, FailureKind
from experts.upstream.refusals import vendor_words as words
from experts.upstream.refusals.refused_parameter import find_refused
from experts.upstream.refusals.retry_after import read_retry_after
from experts.upstream.request import Ask
from experts.upstream.shape.json_text import Unbounded, read_json
from experts.upstream.usage import Usage

_BUSY = frozenset((408, 409, 423, 424, 425, 429, 499, 529))
_OF_THE_KEY = frozenset((401, 403, 407))
_OF_THE_MODEL = frozenset((404, 405, 410, 421, 451))
_OF_THE_REQUEST = frozenset((400, 413, 415, 422))
_TEXTS = (
    "message",
    "msg",
    "detail",
    "error_description",
    "error_message",
    "status_msg",
    "reason",
    "title",
    "error",
    "raw",
)
_CODES = ("code", "type", "status", "error_code", "reason", "error_type", "err_code", "blockReason")
#: What some servers repeat of the request in their errors: a caller's words are no reason for anything.
_ECHOES = frozenset(("input", "ctx", "body", "request", "messages", "prompt", "url", "loc"))
_ECHO = re.compile(r"['\"]?\b(input|body|messages|prompt)['\"]\s*:")
_LEADS = {
    FailureKind.CREDENTIALS: "the API refuses the operator's key",
    FailureKind.ACCOUNT_EMPTY: "the operator's account at the API is empty",
    FailureKind.MODEL_GONE: "the API does not offer the model",
    FailureKind.BUSY: "the API is busy",
    FailureKind.SERVER_ERROR: "the API failed",
}
_MOST_WORDS = 4000
_MOST_MEMBERS, _DEEPEST = 2_000, 12


@dataclass(frozen=True)
class ErrorReply:
    """A refusal as it came.

    Attributes:
        status: the HTTP status, or the one that stands inside a reply of 200.
        headers: of the reply.
        content: the body as JSON, or its text.
        asked: the request that was sent, in the end.
    """

    status: int
    headers: Mapping[str, str]
    content: Any
    asked: Mapping[str, Any]

    @cached_property
    def message(self) -> str:
        """What it says for people; empty where it says nothing."""
        if isinstance(self.content, str):
            return _text_of_page(self.content)
        found = next(_texts(self.content), "")
        return found if found else ""

    @cached_property
    def codes(self) -> str:
        """Its machine-readable words."""
        return " ".join(_values(self.content, _CODES))[:_MOST_WORDS]

    @cached_property
    def words(self) -> str:
        """All that speaks about the fault, in small letters, without what repeats the request."""
        told = " ".join(_texts(self.content)) if not isinstance(self.content, str) else self.message
        return f"{self.codes} {_ECHO.split(told)[0]}".lower()[:_MOST_WORDS]

    @cached_property
    def param(self) -> str | None:
        """The field that it names apart."""
        named = next((value for value in _values(self.content, ("param",)) if value), None)
        return named or next(_places(self.content), None)

    @cached_property
    def _asked_text(self) -> str:
        said = {name: self.asked.get(name) for name in ("messages", "prompt")}
        return json.dumps(said, ensure_ascii=False, default=str).lower()

    def says(self, pattern: re.Pattern[str]) -> bool:
        """Tell whether it says so in words that are not its caller's own."""
        return any(found[0] not in self._asked_text for found in pattern.finditer(self.words))


def read_error(
    ask: Ask,
    status: int,
    headers: Mapping[str, str],
    content: Any,
    *,
    sent: Mapping[str, Any] | None = None,
    secrets: Iterable[str] = (),
    usage: Usage | None = None,
) -> Failure:
    """Return the failure that a refusal is: a reply of 300 or above, or an error under 200.

    Args:
        ask: what was asked.
        status: the HTTP status that came.
        headers: of the reply.
        content: its body as JSON, or as text where it is none.
        sent: the fields as they were sent, where they are not those of ``ask.body``.
        secrets: what must not be shown.
        usage: the tokens it told of.
    """
    secrets = tuple(secrets)
    content = _part_of(content, secrets)
    inner = status if status >= 300 else _inner_status(content)
    reply = ErrorReply(inner, headers, content, sent or ask.body)
    retry_after_s = read_retry_after(headers, content, reply.words)
    param = find_refused(reply.words, reply.param, reply.codes, reply.asked)
    kind = _kind(reply, param, retry_after_s)
    return Failure(
        kind=kind,
        message=_word(reply, kind, secrets),
        upstream_status=status,
        param=param
        if kind is FailureKind.REFUSED_PARAMETER
        else reply.param and scrub(reply.param, secrets, 60),
        retry_after_s=retry_after_s,
        usage=usage,
    )


def _part_of(content: Any, secrets: Iterable[str]) -> Any:
    """Return as much of an error as is looked through, without secrets; more would take its time."""
    left = _MOST_MEMBERS

    def copy(value: Any, depth: int) -> Any:
        nonlocal left
        if isinstance(value, str) and not isinstance(value, Unbounded):
            return hide(value, secrets)
        if not isinstance(value, dict | list):
            return value
        left -= len(value)
        if left < 0 or depth > _DEEPEST:
            return None
        if isinstance(value, dict):
            return {name: copy(inner, depth + 1) for name, inner in value.items()}
        return [copy(inner, depth + 1) for inner in value]

    return copy(content, 0)


def _kind(reply: ErrorReply, param: str | None, retry_after_s: float | None) -> FailureKind:
    status, says = reply.status, reply.says
    if status == 402:
        return FailureKind.ACCOUNT_EMPTY
    if status in _BUSY or (status in (403, 500, 503) and says(words.BUSY)):
        is_passing = retry_after_s is not None or says(words.OF_A_WHILE)
        empty = says(words.ACCOUNT_EMPTY) or (not is_passing and says(words.ACCOUNT_EMPTY_OR_BUSY))
        return FailureKind.ACCOUNT_EMPTY if status in (403, 429) and empty else FailureKind.BUSY
    may_be_param = status in (400, 403, 404, 422, 501) or (status in (405, 500) and reply.param is not None)
    if may_be_param and param is not None:
        return FailureKind.REFUSED_PARAMETER
    if (400 <= status < 500 and status not in (401, 407)) or status in (500, 503):
        if status != 503 and says(words.CONTENT_FILTER):
            return FailureKind.CONTENT_FILTER
        if status not in (403, 451) and says(words.CONTEXT_OVERFLOW):
            return FailureKind.CONTEXT_OVERFLOW
        if says(words.ACCOUNT_EMPTY):
            return FailureKind.ACCOUNT_EMPTY
    if status in _OF_THE_KEY:
        return FailureKind.CREDENTIALS
    if status == 404 and says(words.NOT_A_PARAMETER):
        return FailureKind.BAD_REQUEST  # a router that finds nobody who reads pictures
    if status in _OF_THE_MODEL or 300 <= status < 400:
        return FailureKind.MODEL_GONE
    if status in _OF_THE_REQUEST:
        if says(words.CREDENTIALS):
            return FailureKind.CREDENTIALS
        return FailureKind.MODEL_GONE if says(words.MODEL_GONE) else FailureKind.BAD_REQUEST
    return FailureKind.SERVER_ERROR


def _inner_status(content: Any) -> int:
    """Return the status that an error under 200 stands for; 500 where it names none."""
    for value in _values(content, _CODES):
        if value.isdecimal() and len(value) == 3 and 400 <= int(value) < 600:
            return int(value)
    for value in _values(content, _CODES):
        for pattern, status in words.STATUS_OF_CODE:
            if pattern.search(value):
                return status
    return 500


def _word(reply: ErrorReply, kind: FailureKind, secrets: Iterable[str]) -> str:
    lead = _LEADS.get(kind, "")
    said = reply.message
    if 300 <= reply.status < 400:
        target = {name.lower(): value for name, value in reply.headers.items()}.get("location", "elsewhere")
        lead, said = "the API has moved", f"it points to {target}; set `base_url:` to it"
    text = f"{lead} (HTTP {reply.status})" if lead else f"HTTP {reply.status}"
    return scrub(f"{text}: {said}" if said else text, secrets)


def _texts(content: Any, depth: int = 8) -> Iterator[str]:
    """Yield the texts for people, the outermost message first; JSON inside a text is opened."""
    if depth < 0:
        return
    if isinstance(content, Unbounded):
        return
    if isinstance(content, str):
        text = content.strip()
        if text[:1] in ("{", "[") and len(text) < 20_000:
            try:
                yield from _texts(read_json(text), depth - 1)
            except ValueError:
                yield text
        elif text:
            yield text
    elif isinstance(content, list):
        for inner in content[:10]:
            yield from _texts(inner, depth - 1)
    elif isinstance(content, dict):
        known = [content[name] for name in _TEXTS if isinstance(content.get(name), str)]
        for value in known:
            yield from _texts(value, depth - 1)
        for name, value in content.items():
            if name not in _ECHOES and isinstance(value, dict | list):
                yield from _texts(value, depth - 1)


def _values(content: Any, names: tuple[str, ...], depth: int = 6) -> Iterator[str]:
    """Yield what stands under these names, as text, from outside inward."""
    if depth < 0:
        return
    if isinstance(content, list):
        for inner in content[:10]:
            yield from _values(inner, names, depth - 1)
    elif isinstance(content, dict):
        for name in names:
            value = content.get(name)
            if isinstance(value, str | int) and not isinstance(value, bool):
                yield str(value)[:200]
        for name, value in content.items():
            if name not in _ECHOES and isinstance(value, dict | list):
                yield from _values(value, names, depth - 1)


def _places(content: Any, depth: int = 6) -> Iterator[str]:
    """Yield the fields that a validator names by their way through the body: ``["body", "logit_bias"]``."""
    if depth < 0:
        return
    if isinstance(content, dict):
        way = content.get("loc")
        if isinstance(way, list) and way and all(isinstance(step, str | int) for step in way):
            yield ".".join(str(step)[:60] for step in way[:6])
        content = [inner for name, inner in content.items() if name not in _ECHOES]
    for inner in content[:10] if isinstance(content, list) else ():
        yield from _places(inner, depth - 1)


def _text_of_page(page: str) -> str:
    """Return the title or the words of a page that is no JSON."""
    page = page[:20_000]
    if title := re.search(r"<title[^>]*>([^<]{1,200})", page, re.IGNORECASE):
        return f"a web page: {title[1].strip()}"
    return re.sub(r"<[^>]{0,500}>", " ", page).strip()[:2000]
