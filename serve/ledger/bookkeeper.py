"""The bookkeeper: the one deployment that holds the ledger, and brings the traffic to the warehouse."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from serve.config import ServeConfig, is_loopback
from serve.config.home_mark import check_home
from serve.ledger.accounts.administering import administer
from serve.ledger.accounts.usage import Used, tokens_of
from serve.ledger.ahead import needs_of
from serve.ledger.alerts.figures import AlertFigures
from serve.ledger.alerts.sending import AlertSender
from serve.ledger.alerts.webhook import read_webhook
from serve.ledger.drain import Drain
from serve.ledger.key_limits import PriceRatios, RateLimiter
from serve.ledger.ledger import Ledger
from serve.ledger.messages import (
    AdminAnswer,
    AdminOrder,
    Caller,
    Drained,
    Ended,
    Entry,
    Extension,
    Feedback,
    Grant,
    Heartbeat,
    Pulse,
    Refusal,
    Reservation,
    Reserved,
    Settled,
    Settlement,
    Taken,
    Unbooked,
    Written,
)
from serve.ledger.overview.budget_gauges import BudgetGauges
from serve.ledger.overview.overview import Overview
from serve.ledger.overview.seen import LedgerOverview
from serve.ledger.owners import LOOK_EVERY_S, WRITTEN_EVERY_S, OwnerWatch
from serve.ledger.patience import patiently
from serve.ledger.prometheus import Metrics
from serve.ledger.store.place import ledger_place
from serve.ledger.traffic.carrying import carry_traffic
from serve.ledger.traffic.drift_figures import DriftFigures
from serve.ledger.traffic.feedback import FeedbackDesk
from serve.ledger.traffic.upkeep import Upkeep
from serve.transport.local_call import LocalServer
from serve.transport.local_socket import Address
from serve.transport.own_port import keep_port_on_this_machine
from warehouse import LedgerAwayError
from warehouse.traffic.hashing import read_hash_key

logger = logging.getLogger("ray.serve")

CONVERSATION_LIFETIME_S = 6 * 3600.0
CALL_KEPT_S = 24 * 3600.0  # for who looks at them; repetitions come within seconds
CARRY_EVERY_S = 30.0
UNLIMITED = Grant(math.inf, None)  # where nobody is charged


class Bookkeeper:
    """Answers for keys and money. Every method may be called again after a failure without harm."""

    def __init__(self, config: ServeConfig) -> None:
        keep_port_on_this_machine()
        check_home(config.home, config.home_mark)
        os.umask(0o077)  # what is kept here is nobody else's
        self._config = config
        self._ledger = Ledger(ledger_place(config.home, config.ledger))
        self._hash_key = read_hash_key(config.home)
        self._rates = RateLimiter()
        self._ratios = PriceRatios()
        self._alerts = AlertSender(self._ledger.alerts, read_webhook())
        self._overview = Overview(self._ledger)
        self._feedback = FeedbackDesk(config, self._ledger)
        self._upkeep = Upkeep(config)
        self._watch = OwnerWatch()
        self._written: dict[str, float] = {}  # owner, and when its last beat was written down
        self._drain = Drain()
        budgets = BudgetGauges(self._ledger, self._drain.count_under_way)
        self._metrics = Metrics(DriftFigures(config.home), AlertFigures(self._ledger.alerts), budgets)
        self._to_count: list[Callable[[], None]] = []  # once the entries are in the ledger
        self._carrying: asyncio.Task[None] | None = None
        self._burying: asyncio.Task[None] | None = None
        self._alerting: asyncio.Task[None] | None = None
        self._local = LocalServer(self.write)

    async def address(self) -> Address | None:
        """Return where :meth:`write` can be called on this node."""
        self._carry_on()
        return await self._local.address()

    async def check_health(self) -> None:
        """Keep on with what is done beside the requests; Ray Serve asks now and then."""
        self._carry_on()

    async def identify(self, secret_hash: str | None) -> Caller | Ended | None:
        """Return who asks, by the digest of a secret, or why it is none any more; None if it never was."""
        self._carry_on()
        return await patiently(lambda: self._identify(secret_hash))

    async def write(self, entries: Sequence[Entry]) -> list[Written]:
        """Write entries in one transaction; returns what became of each, in its place.

        Each is judged alone: one that cannot be written is ``Unbooked`` and harms no other.
        """
        done = await patiently(lambda: self._write_all(entries))
        for place, (entry, written) in enumerate(zip(entries, done, strict=True)):
            if isinstance(entry, Settlement) and isinstance(written, Settled):
                self._metrics.count(entry, written)
                self._overview.count(entry, written)
            elif isinstance(entry, Heartbeat) and isinstance(written, Pulse):
                done[place] = self._drain.pulse(entry, time.monotonic())
        return done

    async def figures(self) -> bytes:
        """Return what was counted, over all replicas of the ingress, in Prometheus's text format."""
        return self._metrics.render()

    async def overview(self, caller: Caller, days: int) -> LedgerOverview:
        """Return what an operator sees of the last days, or what a key sees of its own requests."""
        return await patiently(lambda: self._overview.look(caller, days))

    async def administer(self, caller: Caller, order: AdminOrder) -> AdminAnswer:
        """Do what an admin wants, and note who wanted it."""
        return await patiently(lambda: administer(self._ledger, caller, order))

    async def add_feedback(self, caller: Caller, feedback: Feedback) -> Taken:
        """Write down what a caller says of an answer of its own."""
        taken = await self._feedback.add(caller, feedback)
        if taken.startswith("kept"):
            self._metrics.count_feedback(feedback)
        return taken

    async def drain(self, within_s: float) -> Drained:
        """Let nobody in any more, and say what is still under way; to be called until that is nothing.

        Args:
            within_s: counts from the first call; what is under way then is broken off.
        """
        self._overview.write_down()
        return self._drain.begin(within_s, time.monotonic())

    def _identify(self, secret_hash: str | None) -> Caller | Ended | None:
        caller = self._ledger.identify(secret_hash) if secret_hash else None
        return caller if caller is not None or not self._is_open() else Caller()

    def _write_all(self, entries: Sequence[Entry]) -> list[Written]:
        """Write all together, in few ways to the database and back; or else each apart from the others."""
        try:
            with self._in_memory_too(), self._ledger.together(lambda: needs_of(entries, self._keyed)):
                return [self._write(entry, is_apart=False) for entry in entries]
        except LedgerAwayError:
            raise
        except Exception:  # one of them cannot be written
            with self._in_memory_too(), self._ledger.transaction():
                return [self._write_alone(entry) for entry in entries]

    @contextmanager
    def _in_memory_too(self) -> Iterator[None]:
        """Let what is kept in memory follow a transaction: if it fails, its entries are written again."""
        self._rates.begin()
        self._to_count.clear()
        try:
            yield
        except BaseException:
            self._rates.undo()
            self._written.clear()
            raise
        for count in self._to_count:
            try:
                count()
            except Exception:  # the entries are in the ledger
                logger.exception("an entry is not counted")

    def _write_alone(self, entry: Entry) -> Written:
        counted = len(self._to_count)
        try:
            with self._ledger.alone():
                return self._write(entry, is_apart=True)
        except Exception as error:
            if not self._ledger.in_transaction:  # the file itself is in trouble, which is everybody's
                raise
            del self._to_count[counted:]
            logger.exception("an entry cannot be written to the ledger")
            return Unbooked(f"the ledger cannot take this ({type(error).__name__})")

    def _write(self, entry: Entry, *, is_apart: bool) -> Written:
        match entry:
            case Reservation():
                return self._reserve(entry)
            case Extension():
                return self._extend(entry)
            case Heartbeat():
                self._note_life(entry.owner)
                return Pulse()  # what it is to know is found once that is written
            case _:
                return self._settle(entry, is_apart=is_apart)

    def _reserve(self, entry: Reservation) -> Reserved:
        reserved = self._set_aside(entry)
        if entry.explores is None or isinstance(reserved.grant, Refusal):
            return reserved
        explore_usd = self._ledger.exploring.reserve(entry, self._config.explore_usd_per_day)
        return replace(reserved, explore_usd=explore_usd)

    def _set_aside(self, entry: Reservation) -> Reserved:
        if self._drain.has_begun:
            return Reserved(Refusal("the endpoint is shutting down", "shutting_down", 5.0))
        holder = self._ledger.expert_of(self._keyed(entry.conversation)) if entry.conversation else None
        held_by, silent_s = (None, math.inf) if holder is None else holder
        caller = entry.caller
        if caller.key_id is None:
            return Reserved(UNLIMITED, held_by, silent_s=silent_s)
        if refusal := self._ledger.refuse(caller, entry.request_id):  # before its rate: that may be another
            return Reserved(refusal)
        if caller.requests_per_minute is not None:
            wait_s = self._rates.wait_s(caller.key_id, caller.requests_per_minute, time.monotonic())
            if wait_s:
                return Reserved(Refusal("this key asks too often", "rate_limit_exceeded", wait_s))
        ratio = self._ratios.ratio(caller.key_id)
        if not entry.bounds_usd:
            allowance_usd = self._ledger.allowance_usd(caller.key_id) if caller.is_paced else None
            return Reserved(replace(UNLIMITED, allowance_usd=allowance_usd), held_by, silent_s, ratio)
        self._note_life(entry.owner)
        grant = self._ledger.reserve(
            caller.key_id,
            entry.request_id,
            entry.bounds_usd,
            lifetime_s=self._config.longest_request_s,
            owner=entry.owner,
            likely_usd=entry.likely_usd,
        )
        return Reserved(grant, held_by, silent_s, ratio)

    def _extend(self, entry: Extension) -> Reserved:
        if entry.caller.key_id is None:
            return Reserved(UNLIMITED)
        return Reserved(
            self._ledger.extend(
                entry.request_id, entry.extra_usd, number=entry.number, likely_usd=entry.likely_usd
            )
        )

    def _settle(self, entry: Settlement, *, is_apart: bool) -> Settled:
        caller = entry.caller
        settled = self._ledger.settle(
            entry.request_id,
            entry.cost_usd,
            disputed_usd=entry.disputed_usd,
            key_id=caller.key_id,
            used=_used(entry),
        )
        if entry.explored is not None:
            beyond_usd = self._ledger.exploring.settle(entry.request_id, entry.explored)
            self._to_count.append(partial(self._metrics.count_explored, entry.explored, beyond_usd))
        if entry.answer is None and not entry.records:
            return settled
        if not is_apart:
            self._keep(entry)
            return settled
        try:
            with self._ledger.alone():
                self._keep(entry)
        except Exception:
            if not self._ledger.in_transaction:
                raise
            logger.exception("what is recorded of a request cannot be kept; what it cost is charged")
        return settled

    def _keep(self, entry: Settlement) -> None:
        """Keep what is known of an answer beside its cost."""
        caller, answer = entry.caller, entry.answer
        if entry.records:
            lost = self._ledger.traffic.keep(entry.records)
            self._to_count.append(partial(self._metrics.count_records, len(entry.records) - lost, lost))
        if entry.conversation and answer:
            self._ledger.remember_expert(self._keyed(entry.conversation), answer.expert)
        if caller.key_id is not None and caller.is_paced and answer and entry.expected_usd is not None:
            paid_usd, expected_usd = entry.cost_usd, entry.expected_usd
            self._to_count.append(partial(self._ratios.add, caller.key_id, paid_usd, expected_usd))

    def _keyed(self, conversation: bytes) -> bytes:
        """Return what stands for a conversation in the ledger: without the key no guess can be tested."""
        return hashlib.blake2b(conversation, key=self._hash_key, digest_size=16).digest()

    def _note_life(self, owner: str) -> None:
        now = time.monotonic()
        if owner and now - self._written.get(owner, -math.inf) >= WRITTEN_EVERY_S:
            self._ledger.beat(owner)
            self._written[owner] = now

    def _is_open(self) -> bool:
        if self._config.access == "auto":
            return is_loopback(self._config.host) and not self._ledger.list_keys()
        return self._config.access == "open"

    def _carry_on(self) -> None:
        loop = asyncio.get_running_loop()
        if self._carrying is None or self._carrying.done():
            self._carrying = loop.create_task(self._carry())
        if self._burying is None or self._burying.done():
            self._burying = loop.create_task(self._bury_the_dead())
        if self._alerting is None or self._alerting.done():
            self._alerting = loop.create_task(self._alerts.run())

    async def _bury_the_dead(self) -> None:
        """End the calls of processes that died, and those whose time ran out, for ever."""
        while True:
            try:
                for owner in self._watch.find_dead(self._ledger.beats(), time.monotonic()):
                    ended = self._ledger.bury(owner)
                    self._written.pop(owner, None)
                    if ended:
                        logger.warning("%s died; its %d calls under way are settled", owner, ended)
                self._ledger.end_overdue()
            except Exception:
                logger.exception("cannot look after the calls under way; the next turn tries again")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _carry(self) -> None:
        """Bring the traffic to the warehouse, for ever."""
        while True:
            await asyncio.sleep(min(CARRY_EVERY_S, self._config.feedback_window_s))
            self._overview.write_down()
            try:
                self._ledger.forget_conversations(CONVERSATION_LIFETIME_S)
                self._ledger.forget_calls(CALL_KEPT_S)
                self._ledger.exploring.forget(CALL_KEPT_S)
                await asyncio.to_thread(carry_traffic, self._config)
                await asyncio.to_thread(self._upkeep.run_if_due)
            except Exception:  # the traffic stays in the ledger, and the next turn tries again
                logger.exception("cannot write the traffic to the warehouse, or look after what is there")


def _used(entry: Settlement) -> Used:
    answer = entry.answer
    if answer is not None:
        return Used(answer.expert, 1, *tokens_of(answer.usage))
    return Used(entry.failures[-1][0]) if entry.failures else Used()
