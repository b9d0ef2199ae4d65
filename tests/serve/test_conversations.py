"""A conversation stays where it is cheaper to stay, by what the API has cached."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts import ExpertSpec
from experts.upstream import Ask, TokenCounter, ask_of
from orchestrator import Decision
from serve.request.conversations import MOVE_FOR, loses_little, saved_by_staying_usd

CACHED = {"usd_per_mtok_in": 3.0, "usd_per_mtok_cached_in": 0.3, "usd_per_mtok_out": 15.0}
PLAIN = {"usd_per_mtok_in": 3.0, "usd_per_mtok_out": 15.0}
LONG, SHORT = "word " * 8_000, "word "


def asked(price: dict[str, float], *turns: tuple[str, str]) -> tuple[Ask, TokenCounter]:
    spec = ExpertSpec.model_validate({"name": "a", "backend": "openai", "model": "m", "price": price})
    messages = [{"role": role, "content": text} for role, text in turns]
    return ask_of(spec, {"messages": messages}), TokenCounter(spec)


def decided(success: dict[str, float], cost_usd: dict[str, float], multiplier: float) -> Decision:
    best = max(success, key=lambda name: success[name] - multiplier * cost_usd[name])
    others = tuple(name for name in success if name != best)
    return Decision(best, others, success, cost_usd, multiplier, "test")


def test_what_was_read_before_the_last_answer_is_cheaper() -> None:
    talk = (("user", LONG), ("assistant", "yes"), ("user", "why?"))
    ask, counter = asked(CACHED, *talk)
    saved_usd = saved_by_staying_usd(ask, counter, 10.0)
    whole_usd = ask.price.cost_usd(float(counter.prompt_tokens(ask.prompt_characters)), 0.0)
    assert 0.85 * whole_usd < saved_usd < 0.9 * whole_usd  # nine tenths of nearly all of it
    assert saved_by_staying_usd(ask, counter, 301.0) == 0  # the API has forgotten it
    assert saved_by_staying_usd(ask, counter, math.inf) == 0
    assert saved_by_staying_usd(*asked(PLAIN, *talk), 10.0) == 0
    assert saved_by_staying_usd(*asked(CACHED, ("user", LONG)), 10.0) == 0  # it begins
    short = (("user", SHORT), ("assistant", LONG), ("user", LONG))
    assert saved_by_staying_usd(*asked(CACHED, *short), 10.0) == 0  # hardly anything was read before


def test_a_conversation_moves_where_moving_pays_although_it_forgoes_the_cache() -> None:
    success, cost_usd = {"cheap": 0.7, "dear": 0.7}, {"cheap": 0.010, "dear": 0.030}
    decision = decided(success, cost_usd, 10.0)
    assert decision.expert == "cheap"
    assert not loses_little(decision, "dear", None)
    assert loses_little(decision, "dear", None, saved_usd=0.02)
    assert not loses_little(decision, "dear", None, saved_usd=0.001)
    assert not loses_little(decided({"cheap": 0.9, "dear": 0.5}, cost_usd, 10.0), "dear", 0.8, saved_usd=1.0)


@given(
    success=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    cost=st.tuples(st.floats(0, 0.1), st.floats(0, 0.1)),
    multiplier=st.floats(0, 1_000),
    saved=st.lists(st.floats(0, 0.2), min_size=2, max_size=2),
)
def test_a_cache_only_ever_speaks_for_staying(success: Any, cost: Any, multiplier: float, saved: Any) -> None:
    names = ("a", "b")
    decision = decided(
        dict(zip(names, success, strict=True)), dict(zip(names, cost, strict=True)), multiplier
    )
    (held,) = decision.fallbacks
    less, more = sorted(saved)
    assert loses_little(decision, held, None, more) >= loses_little(decision, held, None, less)
    # No more than its whole forecast is saved.
    free = decision.success[held] >= decision.success[decision.expert] - MOVE_FOR
    worth = decision.success[decision.expert] - multiplier * decision.cost_usd[decision.expert]
    assert loses_little(decision, held, None, math.inf) == (decision.success[held] >= worth - MOVE_FOR)
    assert not free or loses_little(decision, held, None, math.inf)


@pytest.mark.parametrize("silent_s", [0.0, 299.0])
def test_the_ledger_says_how_long_it_was_silent(tmp_path: Any, silent_s: float, monkeypatch: Any) -> None:
    from serve.ledger import ledger as module
    from serve.ledger.ledger import Ledger

    ledger = Ledger(tmp_path / "ledger.db")
    now = [1_000_000.0]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    ledger.remember_expert(b"talk", "ann")
    now[0] += silent_s
    assert ledger.expert_of(b"talk") == ("ann", silent_s)
    assert ledger.expert_of(b"other") is None
