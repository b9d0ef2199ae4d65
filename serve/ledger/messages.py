"""The messages to the ledger about a request, and its replies."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from serve.wire.recording import Recording

Period = Literal["day", "month", "total"]  # how long a budget lasts
#: Why a secret that was a key's is none any more.
Ended = Literal["revoked", "expired", "rotated"]
#: The same for who asks with it.
ENDED: dict[Ended, str] = {
    "revoked": "this key is not valid",
    "expired": "this key has expired",
    "rotated": "this secret of the key has been replaced; use the new one",
}
#: To who asks with facts of a key that are not its present ones.
CHANGED = "this key was changed while the request came in; send it again"
MOST_USD = 10_000.0  # a bound, cost or claim of one call beyond this is cut to it


def hash_secret(secret: str) -> str:
    """Return the digest under which a key is kept. Keys are 256 random bits, so a plain digest is enough."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Caller:
    """The caller: a key and its permissions. ``key_id`` is None where the endpoint is open to all."""

    key_id: str | None = None
    experts: tuple[str, ...] | None = None  # the only ones that may answer
    preset: str | None = None  # what the model name "leeroo" means for this key
    requests_per_minute: int | None = None
    is_paced: bool = False  # its budget is spread over the requests of its period
    max_experts_asked: int | None = None  # that may answer one request
    max_latency_s: float | None = None  # for one answer
    record: Recording | None = None  # what may be kept of its requests, where that is less than elsewhere
    explore_share: float | None = None  # of its requests, instead of the endpoint's
    explore_usd_per_day: float | None = None  # of its requests, within the endpoint's
    is_operator: bool = False  # may see what others ask and spend
    is_admin: bool = False  # may manage keys and teams, and nothing else
    models: tuple[str, ...] | None = None  # the only names that its requests may give as model
    dialects: tuple[str, ...] | None = None  # the only ones that it may speak
    networks: tuple[str, ...] | None = None  # the only ones that it may be used from, as CIDR
    rotation: int = 0  # counts the secrets of the key before this one
    changes: int = 0  # counts the changes of the key before these facts were read
    valid_until: float | None = None  # of this secret, seconds since 1970

    @property
    def sees_all(self) -> bool:
        """Whether the overview shows it everybody's figures: an operator, or anyone where it is open."""
        return self.is_operator or self.key_id is None


@dataclass(frozen=True)
class Grant:
    """Leave to spend up to ``reserved_usd``; ``remaining_usd`` is what the budget holds beyond it."""

    reserved_usd: float
    remaining_usd: float | None
    allowance_usd: float | None = None  # of a paced key: what is left for each request still to come


@dataclass(frozen=True)
class Refusal:
    """A call that may not be made."""

    message: str
    code: Literal[
        "invalid_api_key",
        "insufficient_quota",
        "rate_limit_exceeded",
        "shutting_down",
        "key_changed",
        "unbounded_cost",
    ]
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Reservation:
    """Money to set aside before a call, and the conversation to look up on the way."""

    request_id: str
    caller: Caller
    #: Per expert that may answer, the most that its answer can cost; none where nobody is to be asked.
    bounds_usd: tuple[float, ...]
    conversation: bytes | None = None
    owner: str = ""  # the process that works on the request: when it dies, its calls are settled without it
    #: Per expert as in ``bounds_usd``, what its answer comes to by an estimate that errs upward: charged
    #: where the owner dies with the call in flight, for the upstream bills it all the same.
    likely_usd: tuple[float, ...] = ()
    #: Whether the dice say that this request explores; None where it does not throw any.
    explores: bool | None = None


@dataclass(frozen=True)
class Extension:
    """More money to set aside for a call under way, before a further attempt is made."""

    request_id: str
    caller: Caller
    extra_usd: float
    number: int = 0  # counts the extensions of a call from 1: one that was made is not made again
    likely_usd: float = 0.0  # what the further attempt comes to, as in :class:`Reservation`


@dataclass(frozen=True)
class Reserved:
    """The result of a reservation. Where nobody is charged the grant has no limit."""

    grant: Grant | Refusal
    held_by: str | None = None  # the expert that gave the conversation's last answer
    silent_s: float = float("inf")  # since that answer
    price_ratio: float = 1.0  # what a paced key's answers came to, over what was expected of them
    #: The most that an expert's answer may cost to be explored now, within what is left of the day's. It says
    #: nothing of the dice: those who lost them are told it too, since what could have been is recorded.
    explore_usd: float = 0.0

    @property
    def allowance_usd(self) -> float | None:
        """The mean expected cost per request at which a paced budget lasts."""
        if isinstance(self.grant, Refusal) or self.grant.allowance_usd is None:
            return None
        return self.grant.allowance_usd / self.price_ratio


@dataclass(frozen=True)
class Settled:
    """The result of a settlement: charged within the reservation, the rest disputed.

    ``charged_usd`` is None where nobody is charged: the endpoint is open, or nothing was reserved.
    """

    charged_usd: float | None
    disputed_usd: float = 0.0


@dataclass(frozen=True)
class Unbooked:
    """An entry that could not be written. It harms nobody else's."""

    message: str


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life of the process that owns reservations."""

    owner: str
    in_flight: int = 0  # requests that it works on


@dataclass(frozen=True)
class Pulse:
    """The reply to a process that reports that it is alive."""

    is_draining: bool = False
    ends_in_s: float = 0.0  # until then requests under way may finish, where it drains


@dataclass(frozen=True)
class Drained:
    """The progress of a stop: requests still under way, and the processes that worked on requests."""

    under_way: int
    owners: tuple[str, ...]


@dataclass
class Life:
    """An ingress's view of the stop, and its report on its requests."""

    in_flight: int = 0
    is_draining: bool = False
    ends_at: float = math.inf  # on the clock of time.monotonic
    on_draining: Callable[[], None] | None = None  # called once, when stopping begins
    count_background: Callable[[], int] | None = None  # work that goes on though nobody waits for it

    @property
    def under_way(self) -> int:
        """What has to end before the process may."""
        return self.in_flight + (self.count_background() if self.count_background else 0)

    def drain(self, ends_at: float) -> None:
        """Begin to stop: requests under way may finish until then."""
        if self.is_draining:
            return
        self.is_draining, self.ends_at = True, ends_at
        if self.on_draining is not None:
            self.on_draining()


@dataclass(frozen=True)
class Figures:
    """An answer as the operator counts it."""

    expert: str
    usage: dict[str, Any]  # as OpenAI words it
    latency_s: float


class Verdict(NamedTuple):
    """The verdict on one expert's answer: its form, and why it was not usable; None if it was."""

    expert: str
    form: str
    reason: str | None = None


@dataclass(frozen=True)
class TrafficRecord:
    """A row of the traffic on its way to the warehouse; it holds no text.

    Attributes:
        request_id: names the request.
        content: the row as JSON, by the columns of ``warehouse.TRAFFIC``, without the vectors.
        embedding: of the query, float32; empty where the router did not read it.
        surface: of the query, float32.
    """

    request_id: str
    content: bytes
    embedding: bytes = b""
    surface: bytes = b""


@dataclass(frozen=True)
class Explored:
    """The use of the money that was reserved for exploring: none of it is spent by default."""

    expert: str | None = None  # drawn in the place of the greedy choice
    expected_usd: float = 0.0  # beyond the greedy choice, by the forecasts; 0 where it is cheaper
    beyond_usd: float = 0.0  # what the request cost beyond the greedy choice's forecast


@dataclass(frozen=True)
class Feedback:
    """Feedback on an answer. ``comment`` and ``demonstration`` are texts: nothing logs them."""

    request_id: str
    feedback_id: str  # given by whoever takes it: what comes twice is kept once
    level: Literal["request", "conversation"] = "request"
    kind: Literal["score", "thumb", "demonstration", "comment"] = "score"
    score: float | None = None
    comment: str | None = field(default=None, repr=False)
    demonstration: str | None = field(default=None, repr=False)
    source: Literal["api", "playground"] = "api"


#: What became of feedback: kept; kept but for its texts; not kept, being text alone; of nobody's answer.
Taken = Literal["kept", "kept without texts", "texts are not kept", "unknown"]


@dataclass(frozen=True)
class Settlement:
    """The settlement of a call: its cost (0 gives the reservation back), who failed on the way, what to keep.

    ``cost_usd`` is what the caller is charged for all attempts together; the ledger never charges more than
    was reserved, and books the rest as disputed. ``disputed_usd`` is what upstreams claim, or may bill,
    beyond it: the operator's to settle with them.
    """

    request_id: str
    caller: Caller
    cost_usd: float
    disputed_usd: float = 0.0
    answer: Figures | None = None
    failures: tuple[tuple[str, int], ...] = ()  # expert and status
    verdicts: tuple[Verdict, ...] = ()  # on the answers that came
    records: tuple[TrafficRecord, ...] = ()
    explored: Explored | None = None  # where money for exploring was set aside
    conversation: bytes | None = None  # now held by the expert that answered
    expected_usd: float | None = None  # forecast of the cost, where the request was routed
    why: str = ""  # the decision's reason, where the request is recorded; never stored


@dataclass(frozen=True)
class AdminOrder:
    """What an admin wants done: ``what`` names a table, ``name`` one of its rows."""

    what: str  # keys, teams, usage, alerts, log
    action: str  # list, create, change, rotate, revoke, remove
    name: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AdminAnswer:
    """What came of it: an HTTP status, and rows or what was made; or why not, in words."""

    status: int
    told: Any = field(repr=False)  # it may have a secret


Entry = Reservation | Extension | Settlement | Heartbeat
Written = Reserved | Settled | Pulse | Unbooked
