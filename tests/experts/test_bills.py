"""Forty bills of seven vendors, worked out by hand, equal to the picodollar; and no bill above its bound."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from experts import Price
from experts.catalogue.pricing import COMPLETION_PARTS, PROMPT_PARTS
from experts.upstream import TokenCounter, ask_of, measure
from experts.upstream.usage_told import read_usage
from serve.ledger.picodollars import to_pico
from serve.request.charges import RequestBudget, charge_answer
from tests.experts.upstream.scripted_socket import make_spec

GPT_4O = {"usd_per_mtok_in": 2.5, "usd_per_mtok_cached_in": 1.25, "usd_per_mtok_out": 10, "batch_factor": 0.5}
O4_MINI = {"usd_per_mtok_in": 1.1, "usd_per_mtok_cached_in": 0.275, "usd_per_mtok_out": 4.4}
GPT_AUDIO = {
    **{"usd_per_mtok_in": 2.5, "usd_per_mtok_out": 10},
    **{"usd_per_mtok_audio_in": 40, "usd_per_mtok_audio_out": 80},
}
SONNET = {
    **{"usd_per_mtok_in": 3, "usd_per_mtok_cached_in": 0.3, "usd_per_mtok_out": 15, "batch_factor": 0.5},
    **{"usd_per_mtok_cache_write": 3.75, "usd_per_mtok_cache_write_1h": 6},
    "tiers": [
        {
            **{"above_prompt_tokens": 200_000, "usd_per_mtok_in": 6, "usd_per_mtok_cached_in": 0.6},
            **{"usd_per_mtok_out": 22.5, "usd_per_mtok_cache_write": 7.5, "usd_per_mtok_cache_write_1h": 12},
        }
    ],
}
GEMINI_PRO = {
    **{"usd_per_mtok_in": 1.25, "usd_per_mtok_cached_in": 0.125, "usd_per_mtok_out": 10},
    "tiers": [
        {
            **{"above_prompt_tokens": 200_000, "usd_per_mtok_in": 2.5, "usd_per_mtok_cached_in": 0.25},
            "usd_per_mtok_out": 15,
        }
    ],
}
GEMINI_FLASH = {
    **{"usd_per_mtok_in": 0.3, "usd_per_mtok_cached_in": 0.03, "usd_per_mtok_out": 2.5},
    **{"usd_per_mtok_audio_in": 1.0, "usd_per_mtok_image_out": 30},
}
DEEPSEEK = {"usd_per_mtok_in": 0.28, "usd_per_mtok_cached_in": 0.028, "usd_per_mtok_out": 0.42}
GROK = {
    **{"usd_per_mtok_in": 3, "usd_per_mtok_cached_in": 0.75, "usd_per_mtok_out": 15},
    **{"usd_per_mtok_image_in": 4},
    "tiers": [{"above_prompt_tokens": 128_000, "usd_per_mtok_in": 6, "usd_per_mtok_out": 30}],
}
SONAR = {
    **{"usd_per_mtok_in": 2, "usd_per_mtok_out": 8, "usd_per_mtok_reasoning": 3, "usd_per_call": 0.005},
}
LEAST = {"usd_per_mtok_in": 0.1, "usd_per_mtok_out": 0.3, "min_usd_per_call": 0.0001}


def chat(read: int, written: int, cached: int | None = None, **more: Any) -> dict[str, Any]:
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return (
        {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written} | details | more
    )


def thought(tokens: int) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": tokens}}


def messages(read: int, written: int, cached: int = 0, put: int = 0, **more: Any) -> dict[str, Any]:
    """Anthropic's words: what the cache did stands beside the input, not in it."""
    own = {"input_tokens": read, "output_tokens": written}
    return own | {"cache_read_input_tokens": cached, "cache_creation_input_tokens": put} | more


def google(read: int, written: int, thoughts: int = 0, cached: int = 0, **more: Any) -> dict[str, Any]:
    """Gemini's own words: thoughts stand beside the candidates."""
    found = {"promptTokenCount": read, "candidatesTokenCount": written}
    found |= {"totalTokenCount": read + written + thoughts}
    return found | {"thoughtsTokenCount": thoughts, "cachedContentTokenCount": cached} | more


def modality(name: str, tokens: int) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": tokens}]


#: What it is; the price; what was told; the sum, in tokens times dollars a million; the dollars.
BILLS: list[tuple[str, dict[str, Any], dict[str, Any], str, str]] = [
    # OpenAI
    ("gpt-4o plain", GPT_4O, chat(1_000, 200), "1000*2.5 + 200*10", "0.0045"),
    ("gpt-4o one token", GPT_4O, chat(1, 1), "1*2.5 + 1*10", "0.0000125"),
    ("gpt-4o cached", GPT_4O, chat(2_048, 300, 1_920), "128*2.5 + 1920*1.25 + 300*10", "0.00572"),
    ("gpt-4o told no cache", GPT_4O, chat(2_048, 300, 0), "2048*2.5 + 300*10", "0.00812"),
    (
        "gpt-4o more cached than read",
        GPT_4O,
        chat(100, 10, 5_000),
        "100*1.25 + 10*10",
        "0.000225",
    ),
    (
        "gpt-4o in a batch",
        GPT_4O,
        chat(1_200, 80, service_tier="batch"),
        "1200*1.25 + 80*5",
        "0.0019",
    ),
    ("o4-mini thinks", O4_MINI, chat(75, 1_186, **thought(1_024)), "75*1.1 + 1186*4.4", "0.0053009"),
    (
        "o4-mini thinks, cached",
        O4_MINI,
        chat(3_333, 777, 3_072, **thought(640)),
        "261*1.1 + 3072*0.275 + 777*4.4",
        "0.0045507",
    ),
    (
        "o4-mini by responses",
        O4_MINI,
        {
            **{"input_tokens": 5_000, "input_tokens_details": {"cached_tokens": 4_096}},
            **{"output_tokens": 900, "output_tokens_details": {"reasoning_tokens": 512}},
        },
        "904*1.1 + 4096*0.275 + 900*4.4",
        "0.0060808",
    ),
    (
        "gpt-audio hears and speaks",
        GPT_AUDIO,
        chat(
            *(500, 300),
            prompt_tokens_details={"audio_tokens": 420, "text_tokens": 80, "cached_tokens": 0},
            completion_tokens_details={"audio_tokens": 250, "text_tokens": 50},
        ),
        "80*2.5 + 420*40 + 50*10 + 250*80",
        "0.0375",
    ),
    (
        "gpt-audio only hears",
        GPT_AUDIO,
        chat(1_000, 20, prompt_tokens_details={"audio_tokens": 1_000}),
        "1000*40 + 20*10",
        "0.0402",
    ),
    # Anthropic
    ("sonnet plain", SONNET, messages(2_095, 503), "2095*3 + 503*15", "0.01383"),
    ("sonnet reads", SONNET, messages(50, 100, cached=10_000), "50*3 + 10000*0.3 + 100*15", "0.00465"),
    ("sonnet writes", SONNET, messages(50, 100, put=10_000), "50*3 + 10000*3.75 + 100*15", "0.03915"),
    (
        "sonnet reads and writes",
        SONNET,
        messages(7, 393, cached=17_311, put=1_203),
        "7*3 + 17311*0.3 + 1203*3.75 + 393*15",
        "0.01562055",
    ),
    (
        "sonnet keeps for an hour",
        SONNET,
        messages(
            *(20, 30),
            put=5_000,
            cache_creation={"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 4_000},
        ),
        "20*3 + 1000*3.75 + 4000*6 + 30*15",
        "0.02826",
    ),
    (
        "sonnet in a batch",
        SONNET,
        messages(1_000, 1_000, service_tier="batch"),
        "1000*1.5 + 1000*7.5",
        "0.009",
    ),
    (
        "sonnet in a batch, cached",
        SONNET,
        messages(100, 400, cached=2_000, service_tier="batch"),
        "100*1.5 + 2000*0.15 + 400*7.5",
        "0.00345",
    ),
    ("sonnet at the brink", SONNET, messages(200_000, 1_000), "200000*3 + 1000*15", "0.615"),
    ("sonnet beyond", SONNET, messages(200_001, 1_000), "200001*6 + 1000*22.5", "1.222506"),
    (
        "sonnet beyond by its cache",
        SONNET,
        messages(1_001, 800, cached=180_000, put=20_000),
        "1001*6 + 180000*0.6 + 20000*7.5 + 800*22.5",
        "0.282006",
    ),
    (
        "sonnet by a gateway",
        SONNET,
        chat(12_000, 100, prompt_tokens_details={"cached_tokens": 8_000, "cache_creation_tokens": 3_000}),
        "1000*3 + 8000*0.3 + 3000*3.75 + 100*15",
        "0.01815",
    ),
    # Google
    ("gemini pro", GEMINI_PRO, chat(1_500, 400), "1500*1.25 + 400*10", "0.005875"),
    (
        "gemini pro, thoughts in the total alone",
        GEMINI_PRO,
        {"prompt_tokens": 1_500, "completion_tokens": 400, "total_tokens": 2_900},
        "1500*1.25 + 400*10 + 1000*10",
        "0.015875",
    ),
    (
        "gemini pro in its own words",
        GEMINI_PRO,
        google(3_000, 250, thoughts=1_750, cached=2_048),
        "952*1.25 + 2048*0.125 + 250*10 + 1750*10",
        "0.021446",
    ),
    ("gemini pro, thoughts alone", GEMINI_PRO, google(10, 0, thoughts=90), "10*1.25 + 90*10", "0.0009125"),
    ("gemini pro beyond", GEMINI_PRO, google(250_000, 2_000), "250000*2.5 + 2000*15", "0.655"),
    (
        "gemini pro beyond, cached",
        GEMINI_PRO,
        google(250_000, 2_000, cached=240_000),
        "10000*2.5 + 240000*0.25 + 2000*15",
        "0.115",
    ),
    (
        "gemini flash hears",
        GEMINI_FLASH,
        google(1_920, 64, promptTokensDetails=[*modality("TEXT", 20), *modality("AUDIO", 1_900)]),
        "20*0.3 + 1900*1 + 64*2.5",
        "0.002066",
    ),
    (
        "gemini flash hears what it had heard",
        GEMINI_FLASH,
        google(
            *(1_920, 64),
            cached=1_500,
            promptTokensDetails=[*modality("TEXT", 20), *modality("AUDIO", 1_900)],
            cacheTokensDetails=modality("AUDIO", 1_500),
        ),
        "20*0.3 + 400*1 + 1500*0.03 + 64*2.5",
        "0.000611",
    ),
    (
        "gemini flash draws",
        GEMINI_FLASH,
        google(12, 1_300, candidatesTokensDetails=[*modality("IMAGE", 1_290), *modality("TEXT", 10)]),
        "12*0.3 + 1290*30 + 10*2.5",
        "0.0387286",
    ),
    # DeepSeek
    (
        "deepseek hits and misses",
        DEEPSEEK,
        chat(10_000, 600, prompt_cache_hit_tokens=9_984, prompt_cache_miss_tokens=16),
        "16*0.28 + 9984*0.028 + 600*0.42",
        "0.000536032",
    ),
    (
        "deepseek misses",
        DEEPSEEK,
        chat(77, 1, prompt_cache_hit_tokens=0, prompt_cache_miss_tokens=77),
        "77*0.28 + 1*0.42",
        "0.00002198",
    ),
    (
        "deepseek reasons",
        DEEPSEEK,
        chat(640, 3_001, prompt_cache_hit_tokens=640, prompt_cache_miss_tokens=0, **thought(2_800)),
        "640*0.028 + 3001*0.42",
        "0.00127834",
    ),
    # xAI
    (
        "grok thinks beside its answer",
        GROK,
        {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 241, **thought(200)},
        "32*3 + 9*15 + 200*15",
        "0.003231",
    ),
    (
        "grok sees",
        GROK,
        chat(700, 50, prompt_tokens_details={"text_tokens": 180, "image_tokens": 512, "cached_tokens": 8}),
        "180*3 + 512*4 + 8*0.75 + 50*15",
        "0.003344",
    ),
    (
        "grok beyond, at the cached price of before",
        GROK,
        chat(130_000, 100, 100_000),
        "30000*6 + 100000*0.75 + 100*30",
        "0.258",
    ),
    # Perplexity, and a vendor with a least price
    (
        "sonar by the call, its thoughts at their own price",
        SONAR,
        chat(19, 1_500, **thought(1_000)),
        "19*2 + 500*8 + 1000*3 + 5000*1",
        "0.012038",
    ),
    ("less than the least", LEAST, chat(10, 10), "100*1", "0.0001"),
    ("more than the least", LEAST, chat(1_000, 1_000), "1000*0.1 + 1000*0.3", "0.0004"),
]

MOST_WRITTEN = 8_000
LONG = {"messages": [{"role": "user", "content": "a" * 260_000}], "max_tokens": MOST_WRITTEN}
EXTENT = measure(LONG)


def by_hand(steps: str) -> Decimal:
    """The sum that stands in the table: tokens times dollars a million."""
    pairs = (step.split("*") for step in steps.split(" + "))
    return sum((Decimal(tokens) * Decimal(usd) for tokens, usd in pairs), Decimal(0)) / Decimal(10**6)


@pytest.mark.parametrize(
    ("price", "told", "steps", "usd"), [bill[1:] for bill in BILLS], ids=[bill[0] for bill in BILLS]
)
def test_forty_bills_to_the_picodollar(
    price: dict[str, Any], told: dict[str, Any], steps: str, usd: str
) -> None:
    assert by_hand(steps) == Decimal(usd)  # the table agrees with itself
    spec = make_spec(price=price, context_tokens=None)
    ask = ask_of(spec, LONG, EXTENT)
    usage = read_usage(told, ask, TokenCounter(spec), 40)
    assert not usage.is_estimated
    charge = charge_answer(ask, usage, 40, TokenCounter(spec))
    assert to_pico(charge.cost_usd) == int(Decimal(usd) * 10**12)
    assert charge.cost_usd <= ask.most_usd


def test_there_are_forty_of_six_vendors() -> None:
    assert len(BILLS) == 40
    assert (
        len(
            {name.split()[0] for name, *_ in BILLS}
            & {"gpt-4o", "sonnet", "gemini", "deepseek", "grok", "sonar"}
        )
        == 6
    )


def random_rates(rng: random.Random, names: tuple[str, ...]) -> dict[str, float]:
    rates = {f"usd_per_mtok_{name}": round(rng.uniform(0, 60), rng.randint(0, 4)) for name in names}
    if "usd_per_mtok_cached_in" in rates:
        most = rates.get("usd_per_mtok_in", 0.0)
        rates["usd_per_mtok_cached_in"] = round(most * rng.random(), 4) if most else 0.0
    return rates


def random_price(rng: random.Random) -> dict[str, Any]:
    """A table that a vendor might have, or might not: parts may be dearer or cheaper than the rest."""
    parts = (*PROMPT_PARTS, *COMPLETION_PARTS)
    price: dict[str, Any] = random_rates(rng, ("in", "out", *rng.sample(parts, rng.randint(0, len(parts)))))
    above, tiers = 0, []
    for _ in range(rng.randint(0, 3)):
        above += rng.choice((1, 50, 3_000, 100_000))
        names = ("in", "cached_in", *rng.sample(("out", *parts[1:]), rng.randint(0, 4)))
        tiers.append({"above_prompt_tokens": above, **random_rates(rng, names)})
    price |= {"tiers": tiers} if tiers else {}
    price |= {"usd_per_call": round(rng.uniform(0, 0.05), 6)} if rng.random() < 0.3 else {}
    price |= {"min_usd_per_call": round(rng.uniform(0, 0.2), 6)} if rng.random() < 0.3 else {}
    return price | ({"batch_factor": rng.choice((0.25, 0.5, 1.0))} if rng.random() < 0.3 else {})


def random_told(rng: random.Random, most_read: int, most_written: int) -> Any:
    """A usage in any vendor's words, believable or not, with parts that may exceed the whole."""

    def count(most: int) -> Any:
        return rng.choice((0, 1, most, rng.randint(0, most), rng.randint(0, most), -1, None, most * 3))

    read, written = rng.randint(1, most_read), rng.randint(1, most_written)
    if rng.random() < 0.1:
        read, written = count(most_read), count(most_written)
    house = rng.randint(0, 3)
    if house == 0:
        parts = {
            f"{name}_tokens": count(most_read) for name in ("cached", "audio", "image", "cache_creation")
        }
        out = {f"{name}_tokens": count(most_written) for name in ("reasoning", "audio", "image")}
        details = {"prompt_tokens_details": parts, "completion_tokens_details": out}
        total = {"total_tokens": count(most_read)} if rng.random() < 0.3 else {}
        return {"prompt_tokens": read, "completion_tokens": written} | details | total
    if house == 1:
        hour = {"cache_creation": {"ephemeral_1h_input_tokens": count(most_read)}}
        tier = {"service_tier": rng.choice(("batch", "standard", "priority"))}
        return messages(read, written, count(most_read), count(most_read)) | hour | tier
    if house == 2:
        lists = {
            f"{name}TokensDetails": [*modality("AUDIO", rng.randint(0, most_read)), *modality("IMAGE", 9)]
            for name in ("prompt", "candidates", "cache")
        }
        return {
            **{"promptTokenCount": read, "candidatesTokenCount": written},
            **{"thoughtsTokenCount": count(most_written), "cachedContentTokenCount": count(most_read)},
        } | lists
    return {"prompt_tokens": read, "completion_tokens": written, "prompt_cache_hit_tokens": count(most_read)}


def test_of_two_thousand_random_bills_none_is_above_what_was_set_aside() -> None:
    rng, believed, above_plain = random.Random(5), 0, 0
    for _ in range(2_000):
        spec = make_spec(price=random_price(rng), context_tokens=rng.choice((None, 8_000)))
        body = {
            "messages": [{"role": "user", "content": "a" * rng.choice((0, 10, 3_000))}],
            "max_tokens": rng.choice((1, 40, 3_000)),
            "n": rng.choice((1, 1, 3)),
        }
        ask, counter = ask_of(spec, body), TokenCounter(spec)
        told = random_told(rng, int(ask.most_prompt_tokens), int(ask.most_completion_tokens))
        usage = read_usage(told, ask, counter, rng.choice((0, 8)))
        charge, purse = charge_answer(ask, usage, 8, counter), RequestBudget(ask.most_usd)
        purse.charge(charge)
        assert 0 <= purse.spent_usd <= ask.most_usd
        parts = (usage.cached_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens)
        assert sum(parts) + usage.audio_in_tokens + usage.image_in_tokens <= usage.prompt_tokens
        if (
            usage.prompt_tokens <= ask.most_prompt_tokens
        ):  # else a host's own prompt: not all of it is charged
            assert charge.cost_usd <= ask.most_usd * (1 + 1e-12)
            believed += not usage.is_estimated
            above_plain += charge.cost_usd > ask.price.cost_usd(
                ask.most_prompt_tokens, ask.most_completion_tokens
            )
        more = replace(usage, completion_tokens=usage.completion_tokens + 1)
        assert more.cost_usd(ask.price) >= charge.cost_usd or more.reasoning_tokens
    assert believed > 1_000
    assert above_plain > 20  # prompt and completion at their own prices would not have been enough


def test_many_calls_at_once_cost_what_each_does() -> None:
    rng = random.Random(7)
    for _ in range(100):
        price = Price.model_validate(random_price(rng))
        read = np.array([rng.randint(0, 200_000) for _ in range(20)], float)
        written = np.array([rng.randint(0, 5_000) for _ in range(20)], float)
        parts = {
            name: np.floor(whole * np.array([rng.random() for _ in range(20)]) / 4)
            for names, whole in ((PROMPT_PARTS, read), (COMPLETION_PARTS, written))
            for name in names
        }
        one = [
            price.cost_usd(read[i], written[i], **{name: float(part[i]) for name, part in parts.items()})
            for i in range(20)
        ]
        np.testing.assert_allclose(price.cost_usd(read, written, **parts), one, rtol=1e-12)
        most = price.most_usd(read, written)
        np.testing.assert_allclose(
            most, [price.most_usd(*map(float, pair)) for pair in zip(read, written, strict=True)]
        )
        assert (most >= np.array(one) * (1 - 1e-12)).all()
    read[3] = np.nan
    assert np.isnan(price.cost_usd(read, written)[3])
