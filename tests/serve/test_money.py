"""Every call that an upstream bills is charged or disputed, none above what was set aside, and nothing stays.

The upstream, the client that talks to it and the ledger are the real ones; only Ray is left out.
"""

import asyncio
import gc
import logging
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experts import ExpertSpec
from serve.config import ServeConfig
from serve.experts.direct import DirectClient
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Grant, hash_secret
from serve.request import books
from serve.request.gateway import Gateway
from serve.wire.api_errors import ApiError
from serve.wire.protocol import ChatRequest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from fake_experts import FixedRouter, LocalLedger
from hostile_upstream import USD_PER_TOKEN, Plan

BUDGET_USD = 0.05


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(books, "_WAIT_S", (0.0, 0.01, 0.02))
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class WatchedLedger(LocalLedger):
    """Notes what goes by; may be slow, and may fail before or after it wrote."""

    def __init__(self, config, rng=None):
        super().__init__(config)
        self.reserved, self.settled = {}, {}
        self.rng = rng

    async def _stumble(self):
        if self.rng is None:
            return
        await asyncio.sleep(self.rng.choice([0, 0, 0.002]))
        if self.rng.random() < 0.05:
            raise ApiError(503, "away")

    async def reserve(self, reservation):
        await self._stumble()
        reserved = await super().reserve(reservation)
        if isinstance(reserved.grant, Grant):
            self.reserved[reservation.request_id] = reserved.grant.reserved_usd
        await self._stumble()
        return reserved

    async def extend(self, extension):
        await self._stumble()
        extended = await super().extend(extension)
        if isinstance(extended.grant, Grant):
            self.reserved[extension.request_id] += extension.extra_usd
        await self._stumble()
        return extended

    async def settle(self, settlement):
        await self._stumble()
        known = self.settled.setdefault(settlement.request_id, settlement)
        assert known == settlement, "settled twice, otherwise"
        await super().settle(settlement)
        await self._stumble()


@dataclass(frozen=True)
class Visit:
    """A request and what its client does."""

    plan: Plan
    stream: bool
    max_tokens: int | None
    leaves_after_s: float | None  # gives up while it waits
    reads: int | None  # pieces of a stream, before it closes it; None for all
    closes: bool  # rather than dropping it

    named: str | None = None


PLANS = st.builds(
    Plan,
    words=st.integers(0, 60),
    pace_s=st.sampled_from([0.0, 0.0, 0.002]),
    begin_s=st.sampled_from([0.0, 0.0, 0.01, 0.5]),
    usage=st.sampled_from(
        [True, True, True, False, {"prompt_tokens": -1}, {"prompt_tokens": 3, "completion_tokens": 10**9}]
    ),
    status=st.sampled_from([200] * 6 + [400, 401, 402, 429, 500, 503]),
    breaks=st.sampled_from([None] * 4 + ["before", "within"]),
)
VISITS = st.builds(
    Visit,
    plan=PLANS,
    stream=st.booleans(),
    max_tokens=st.sampled_from([None, 1, 7, 40, 64]),
    leaves_after_s=st.sampled_from([None, None, None, 0.0, 0.001, 0.005, 0.02, 0.1]),
    reads=st.sampled_from([None, None, 0, 1, 3]),
    closes=st.booleans(),
    named=st.sampled_from([None, None, "alpha"]),
)


def spec_of(name, upstream, **fields):
    return ExpertSpec(
        **{
            "name": name,
            "backend": "openai",
            "model": name,
            "base_url": upstream.url,
            "price": {"usd_per_mtok_in": USD_PER_TOKEN * 1e6, "usd_per_mtok_out": USD_PER_TOKEN * 1e6},
            "timeout_s": 0.3,
            "context_tokens": 8_000,
        }
        | fields
    )


def make_gateway(upstream, ledger_type=WatchedLedger, rng=None, **fields):
    config = ServeConfig(home=Path(tempfile.mkdtemp(prefix="leeroo-test-")), access="keys", deadline_s=5.0)
    specs = [spec_of(name, upstream, **fields) for name in ("alpha", "beta")]
    experts = {spec.name: DirectClient(spec) for spec in specs}
    return Gateway(config, FixedRouter("alpha", "beta"), ledger_type(config, rng), experts)


async def make(visit, gateway, caller, name):
    """Make one request as its client would; returns what the client learned of its cost, or the refusal."""
    request = ChatRequest(
        model=visit.named or "leeroo",
        messages=[{"role": "user", "content": f"Say it. #{name}#"}],
        max_tokens=visit.max_tokens,
        stream=visit.stream,
    )
    work = gateway.stream(request, caller) if visit.stream else gateway.answer(request, caller)
    try:
        async with asyncio.timeout(visit.leaves_after_s):
            answered = await work
    except TimeoutError:
        return None
    except ApiError as error:
        return error
    if not visit.stream:
        return answered["leeroo"]["cost_usd"]
    _, pieces = answered
    costs, read = [None], 0
    if visit.reads is None or visit.reads > 0:
        async for piece in pieces:
            read += 1
            costs.append(piece.get("leeroo", {}).get("cost_usd"))
            if read == visit.reads:
                break
    if visit.closes:
        await pieces.aclose()
    return costs[-1]


async def finish(gateway):
    gc.collect()  # a stream that was dropped
    await asyncio.sleep(0.01)
    await gateway.drain(10.0)
    for expert in gateway.experts.values():
        await expert.aclose()


def billed(upstream, name):
    return sum(bill.usd for bill in upstream.bills if bill.name == name)


def check_books_of(upstream, visits, seed, stumbles, **fields):
    """Make requests at once; nothing stays reserved, and what is charged and disputed covers the bill."""
    upstream.plans.clear()
    upstream.bills.clear()

    async def go():
        gateway = make_gateway(upstream, rng=random.Random(seed) if stumbles else None, **fields)
        keys = Ledger(gateway.config.home / LEDGER_FILE)
        secrets = [keys.create_key(name, budget_usd=BUDGET_USD)[1] for name in ("ann", "bob")]
        callers = [await gateway.ledger.identify(hash_secret(secret)) for secret in secrets]
        names = [f"v{seed}-{number}" for number in range(len(visits))]
        upstream.plans.update(zip(names, (visit.plan for visit in visits), strict=True))
        await asyncio.gather(
            *(make(visit, gateway, callers[number % 2], names[number]) for number, visit in enumerate(visits))
        )
        await finish(gateway)
        await asyncio.sleep(0.15 if any(visit.plan.pace_s for visit in visits) else 0.02)
        return gateway, keys

    gateway, keys = asyncio.run(go())
    ledger = gateway.ledger
    assert all(key.reserved_usd == 0 for key in keys.list_keys())
    assert all(key.spent_usd <= BUDGET_USD for key in keys.list_keys())
    for request_id, settlement in ledger.settled.items():
        assert 0 <= settlement.cost_usd <= ledger.reserved.get(request_id, 0.0) + 1e-12
        assert settlement.disputed_usd >= 0
    covered = sum(s.cost_usd + s.disputed_usd for s in ledger.settled.values())
    assert covered >= upstream.billed_usd - 1e-12
    spent = sum(key.spent_usd for key in keys.list_keys())
    assert spent == pytest.approx(sum(s.cost_usd for s in ledger.settled.values()), abs=1e-11)


@given(visits=st.lists(VISITS, min_size=1, max_size=12), seed=st.integers(0, 10**6), stumbles=st.booleans())
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_charged_and_disputed_cover_the_bill_and_nothing_stays_reserved(upstream, visits, seed, stumbles):
    check_books_of(upstream, visits, seed, stumbles)
