"""Kinds of failure, and what follows from each: one table that rounds and the endpoint share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from experts.upstream.usage import Usage


class FailureKind(StrEnum):
    """Why an expert gave no answer."""

    BAD_REQUEST = "bad_request"  # 400, 413, 415, 422: the request as its caller made it
    REFUSED_PARAMETER = "refused_parameter"  # it does not take a parameter, which `Failure.param` names
    CONTEXT_OVERFLOW = "context_length_exceeded"
    CONTENT_FILTER = "content_filter"  # an answer was withheld: unscored, never wrong
    CREDENTIALS = "credentials"  # 401, 403, 407: the operator's key
    ACCOUNT_EMPTY = "account_empty"  # 402, and words about a quota under 429
    MODEL_GONE = "model_gone"  # 404, 405, 410, 421
    BUSY = "overloaded"  # 409, 425, 429, 529 and their like
    TIMEOUT = "timeout"  # nothing had come when the time was up
    STALLED = "stalled"  # it had begun, and went silent or on for too long
    UNREACHABLE = "unreachable"  # no connection: nothing was sent
    BROKEN_CONNECTION = "broken_connection"  # sent, and the connection broke before or within the reply
    SERVER_ERROR = "server_error"  # 5xx, and an error under status 200
    MALFORMED = "malformed"  # not JSON, cut off, empty, or in no shape of OpenAI's
    EMPTY = "empty_answer"  # it ended with neither content nor a reason
    CUT_STREAM = "cut_stream"  # a stream ended without a finish_reason or [DONE]
    NOT_RUNNING = "unavailable"  # our own replica of it died, starts or is full


@dataclass(frozen=True)
class Consequence:
    """What follows from a kind of failure.

    Attributes:
        blame: whose fault it is; ``account`` is the operator's account at the API.
        may_ask_next: whether another expert may answer in its place.
        may_ask_again: whether the same request may succeed at the same expert later.
        rest: whether the expert is left alone: never, after several failures in a row, or at once.
        rest_s: for how long at least, where it rests at once.
        may_be_billed: whether work may have been done for it, where the upstream tells no usage.
        status: the HTTP status that a client sees where nobody else could answer.
    """

    blame: Literal["request", "expert", "account"]
    may_ask_next: bool
    may_ask_again: bool
    rest: Literal["never", "after_several", "at_once"]
    rest_s: float
    may_be_billed: bool
    status: int


_LONG_S = 300.0

#: One row a kind; nothing else in the project decides on a status or a vendor's words.
CONSEQUENCES: dict[FailureKind, Consequence] = {
    FailureKind.BAD_REQUEST: Consequence("request", True, False, "never", 0, False, 400),
    FailureKind.REFUSED_PARAMETER: Consequence("request", True, False, "never", 0, False, 400),
    FailureKind.CONTEXT_OVERFLOW: Consequence("request", True, False, "never", 0, False, 400),
    FailureKind.CONTENT_FILTER: Consequence("request", True, False, "never", 0, True, 400),
    FailureKind.CREDENTIALS: Consequence("account", True, False, "at_once", _LONG_S, False, 502),
    FailureKind.ACCOUNT_EMPTY: Consequence("account", True, False, "at_once", _LONG_S, False, 502),
    FailureKind.MODEL_GONE: Consequence("account", True, False, "after_several", _LONG_S, False, 502),
    FailureKind.BUSY: Consequence("expert", True, True, "after_several", 0, False, 429),
    FailureKind.TIMEOUT: Consequence("expert", True, True, "after_several", 0, True, 504),
    FailureKind.STALLED: Consequence("expert", True, True, "after_several", 0, True, 504),
    FailureKind.UNREACHABLE: Consequence("expert", True, True, "after_several", 0, False, 502),
    FailureKind.BROKEN_CONNECTION: Consequence("expert", True, True, "after_several", 0, True, 502),
    FailureKind.SERVER_ERROR: Consequence("expert", True, True, "after_several", 0, True, 502),
    FailureKind.MALFORMED: Consequence("expert", True, True, "after_several", 0, True, 502),
    FailureKind.EMPTY: Consequence("expert", True, True, "after_several", 0, True, 502),
    FailureKind.CUT_STREAM: Consequence("expert", True, True, "after_several", 0, True, 502),
    FailureKind.NOT_RUNNING: Consequence("expert", True, True, "after_several", 0, True, 503),
}


@dataclass(frozen=True)
class Failure:
    """An expert could not answer. Travels between processes as a value, so that nothing of it is lost.

    Attributes:
        kind: why; :data:`CONSEQUENCES` says what follows.
        message: one line that a client may read: no secret, no control characters.
        upstream_status: the HTTP status that came, where one came.
        param: the parameter that is refused, by the name that was sent.
        retry_after_s: how long the upstream asks to be left alone.
        usage: the tokens that it told of, or that were seen, where it may bill them.
        in_time_of_caller: the time that ran out was the caller's own limit, shorter than the expert's
            ``timeout_s``: it says nothing about the expert.
    """

    kind: FailureKind
    message: str
    upstream_status: int | None = None
    param: str | None = None
    retry_after_s: float | None = None
    usage: Usage | None = None
    in_time_of_caller: bool = False

    @property
    def consequence(self) -> Consequence:
        """What follows from it."""
        return CONSEQUENCES[self.kind]

    @property
    def is_our_fault(self) -> bool:
        """Whether the expert or the operator's account, not the request or its caller, is to blame."""
        return self.consequence.blame != "request" and not self.in_time_of_caller
