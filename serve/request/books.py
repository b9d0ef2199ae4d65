"""The books of one request: what each attempt is charged, what the breaker learns, and the settlement."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from experts.forms import Unusable
from experts.upstream import Failure, TokenCounter, Usage
from serve.experts.client import ExpertClient, OpenStream, WholeAnswer
from serve.ledger.messages import MOST_USD, Extension, Grant, Settlement, Verdict
from serve.request.asking.course import Answered
from serve.request.asking.exploring import explored_cost
from serve.request.background import Background
from serve.request.breaker import Breaker
from serve.request.charges import (
    Charge,
    charge_answer,
    charge_cut_stream,
    charge_failure,
    has_overrun,
    likely_usd,
)
from serve.request.clients import LedgerClient
from serve.request.in_flight import InFlight
from serve.request.recording.recorder import Recorder
from serve.request.recording.records import Ending
from serve.request.streaming import written_in
from serve.request.tracing.about_request import about_settled, outcome_of

logger = logging.getLogger("ray.serve")

_WAIT_S = (0.0, 1.0, 4.0, 15.0, 60.0)  # before each try to settle
_ROUNDING_USD = 1e-12


class RequestBooks:
    """Keeps the books of one request; see :class:`serve.request.dispatch.Books`."""

    def __init__(
        self,
        job: InFlight,
        ledger: LedgerClient,
        breaker: Breaker,
        counters: dict[str, TokenCounter],
        background: Background,
        recorder: Recorder,
    ) -> None:
        self._job = job
        self._ledger = ledger
        self._breaker = breaker
        self._counters = counters
        self._background = background
        self._recorder = recorder
        self._extensions = 0
        self._kept_usd: dict[str, float] = {}  # by expert at work: what it may cost at most

    async def begin(self, expert: ExpertClient) -> bool:
        """Tell whether an expert may be asked; sets aside what is missing for it."""
        job, name = self._job, expert.spec.name
        if job.has_left:
            return False
        most_usd = min(job.asks[name].most_usd, MOST_USD)
        missing_usd = most_usd + sum(self._kept_usd.values()) - job.purse.left_usd
        if missing_usd > _ROUNDING_USD and not await self._extend(name, missing_usd):
            return False
        is_awaited = not job.has_left
        if is_awaited:
            self._kept_usd[name] = most_usd
            job.at_work.add(name)
            job.notes.asked(expert, job.plan.reason)
        return is_awaited

    def answered(
        self, expert: ExpertClient, value: object, unusable: Unusable | None, asked_at: float
    ) -> float:
        """Charge a whole answer, usable or not; a stream is charged at its end. Returns what it cost."""
        job, name = self._job, expert.spec.name
        job.at_work.discard(name)
        self._breaker.record(name, None, job.caller.key_id, asked_at)
        job.notes.came(name, value)
        if not isinstance(value, WholeAnswer):
            return 0.0
        self.judged(name, unusable)
        return self.charge(name, value.usage, written_in(value.body, "message"))

    def judged(self, name: str, unusable: Unusable | None) -> None:
        """Note what was thought of an answer."""
        if unusable is not None:
            self._job.notes.judged(name, unusable)
        self._job.verdicts.append(
            Verdict(name, self._job.form.name, unusable.reason.value if unusable else None)
        )

    def failed(self, expert: ExpertClient, failure: Failure, asked_at: float) -> float:
        """Charge an attempt that failed, as its upstream may bill it; returns what it cost."""
        job, name = self._job, expert.spec.name
        job.at_work.discard(name)
        self.note(name, failure, asked_at)
        return self._pay(name, charge_failure(job.asks[name], failure, self._counters[name]))

    def abandoned(self, expert: ExpertClient) -> float | None:
        """Charge an attempt that nobody waits for any more by an estimate: its upstream may have done it all.

        None where it still waited for its turn: nothing was sent.
        """
        job, name = self._job, expert.spec.name
        job.notes.abandoned(name, was_sent=name in job.at_work)
        if name not in job.at_work:
            self._kept_usd.pop(name, None)
            return None
        job.at_work.discard(name)
        return self._pay(name, Charge(likely_usd(job.asks[name], self._counters[name])))

    def note(self, name: str, failure: Failure, asked_at: float) -> None:
        """Tell the breaker and the operator of a failure."""
        job = self._job
        self._breaker.record(name, failure, job.caller.key_id, asked_at)
        job.failures.append((name, failure.consequence.status))
        job.notes.failed(name, failure)
        # What an API says of a request may quote it, and a log is no place for texts; its caller is told it.
        told = f": {failure.message}" if failure.consequence.blame == "account" else ""
        logger.warning("%s: expert %s failed: %s%s", job.request_id, name, failure.kind, told)

    def charge(self, name: str, usage: Usage, written: int) -> float:
        """Charge an answer, and learn from its bill; returns what it cost by itself."""
        ask = self._job.asks[name]
        self._job.notes.used(name, usage)
        charge = charge_answer(ask, usage, written, self._counters[name])
        self._pay(name, charge)
        self._breaker.record_overrun(name, overran=has_overrun(ask, usage, written))
        if not usage.is_estimated:
            self._counters[name].learn_prompt(ask.prompt_characters, usage.prompt_tokens)
        return charge.cost_usd

    def charge_cut(self, name: str, usage: Usage | None, written: int, writing_s: float) -> float:
        """Charge a stream that ended before its time; returns what it cost by itself."""
        ask, counter = self._job.asks[name], self._counters[name]
        if usage is None:
            charge = Charge(likely_usd(ask, counter))
        else:
            self._job.notes.used(name, usage)
            charge = charge_cut_stream(ask, usage, written, writing_s, counter)
        self._pay(name, charge)
        if usage is not None and has_overrun(ask, usage, written):
            self._breaker.record_overrun(name, overran=True)
        return charge.cost_usd

    def dropped(self, came: Answered[OpenStream]) -> float:
        """Charge a stream that began and is not read any further; returns what it cost by itself."""
        name = came.expert.spec.name
        self.answered(came.expert, came.value, None, came.asked_at)
        written = sum(written_in(piece.body, "delta") for piece in came.value.opening)
        return self.charge_cut(name, came.value.opening[-1].usage, written, came.took_s)

    def settle(self, ending: Ending | None = None, **kept: Any) -> None:
        """Record how the request ended, if it was answered, and settle it; nobody waits for that.

        Stopping does, and where this process dies first, the ledger settles by what was set aside; what is
        recorded lies in a file by then.
        """
        job = self._job
        records = () if ending is None else self._recorder.record(job, ending)
        job.notes.ended(lambda: outcome_of(job, ending, self._recorder.recording_of(job)))
        settlement = Settlement(
            job.request_id,
            job.caller,
            job.purse.spent_usd,
            disputed_usd=job.purse.disputed_usd,
            failures=tuple(job.failures),
            verdicts=tuple(job.verdicts),
            records=records,
            explored=explored_cost(job.plan, job.dice, job.purse.spent_usd),
            why=job.plan.reason if records else "",
            **kept,
        )
        self._background.start(self._settle(settlement), is_booking=True)

    async def _settle(self, settlement: Settlement) -> None:
        notes = self._job.notes
        try:
            settling = notes.during("settle", settle_surely(self._ledger, settlement), about_settled)
            if await settling and settlement.records:
                self._recorder.settled(settlement.request_id)
        finally:
            notes.settled()

    def _pay(self, name: str, charge: Charge) -> float:
        """Take a charge out of what was set aside; what others at work may cost is not touched."""
        self._kept_usd.pop(name, None)
        self._job.purse.charge(charge, kept_usd=sum(self._kept_usd.values()))
        self._job.notes.paid(name, charge.cost_usd)
        return charge.cost_usd

    async def _extend(self, name: str, missing_usd: float) -> bool:
        job = self._job
        self._extensions += 1
        extension = Extension(
            job.request_id,
            job.caller,
            missing_usd,
            number=self._extensions,
            likely_usd=likely_usd(job.asks[name], self._counters[name]),
        )
        try:
            extended = await self._ledger.extend(extension)
        except Exception:
            logger.exception("%s: cannot set more money aside", job.request_id)
            return False
        if not isinstance(extended.grant, Grant):
            return False
        job.purse.reserved_usd = max(job.purse.reserved_usd, extended.grant.reserved_usd)
        return True


async def settle_surely(ledger: LedgerClient, settlement: Settlement) -> bool:
    """Settle, and try again where the ledger is away; doing it twice does nothing. Tells if it is done."""
    for wait_s in _WAIT_S:
        if wait_s:
            await asyncio.sleep(wait_s)
        try:
            await ledger.settle(settlement)
        except Exception:
            logger.exception("%s: cannot settle $%g", settlement.request_id, settlement.cost_usd)
        else:
            return True
    # Its reservation has an owner: the ledger settles it by its estimate when that one is gone.
    logger.error("%s: given up settling $%g", settlement.request_id, settlement.cost_usd)
    return False
