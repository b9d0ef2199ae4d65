"""The world of the simulated year: a stream of recorded questions that drifts away from what was learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from bench.routing_data import load_recorded
from orchestrator import load_embedder, read_queries
from orchestrator.text.queries import Examples, Queries
from warehouse import Outcomes, text_keys

REQUESTS = 20_000
DRIFT = (2_000, 8_000)  # requests between which the share of foreign questions rises from 0 to 1
KNOWN_SHARE = 0.6  # of the home questions: the router learns from them, the rest is asked
HELD_OUT = 0.2  # of the questions asked: nothing is ever learned of them, they measure
TOKENS_PER_QUERY = 1_000  # at three quarters in, one quarter out


@dataclass(frozen=True)
class Sides:
    """Outcomes of the same experts at home and abroad, where some of them have changed."""

    home: Examples
    foreign: Examples
    price_usd: np.ndarray  # [m] of an answer, on both sides, known to every router


@dataclass(frozen=True)
class World:
    known: Examples  # what the router learns from before it serves
    asked: Examples  # [t] the stream with all that every expert would answer, for who may know everything
    queries: Queries  # [t] the stream
    score: np.ndarray  # [t, m] what each expert would score
    question: np.ndarray  # [t] number of the question, for who may know everything
    held_out: Queries  # [h]
    held_out_score: np.ndarray  # [h, m]
    held_out_foreign: np.ndarray  # [h]
    foreign_share: np.ndarray  # [t] chance that a request is a foreign question
    price_usd: np.ndarray  # [m]

    def mix(self, rows: slice) -> np.ndarray:
        """Weights [h] that give the held-out questions the mix of some requests."""
        share, foreign = self.foreign_share[rows].mean(), self.held_out_foreign
        return np.where(foreign, share / max(foreign.sum(), 1), (1 - share) / max((~foreign).sum(), 1))


VERSIONS = {
    "gpt-4o": ("helm/openai_gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
    "gemini-pro": ("helm/google_gemini-1.5-pro-preview-0409", "gemini-1.5-pro-002"),
    "gemini-flash": ("helm/google_gemini-1.5-flash-preview-0514", "gemini-1.5-flash-002"),
    "llama-3-70b": ("helm/meta_llama-3-70b", "Meta-Llama-3-70B"),
    "mixtral-8x7b": ("routellm:Mixtral-8x7B-Instruct", "Mixtral-8x7B-Instruct-v0.1"),
}
#: For choosing settings: other experts on other questions; one of them is exchanged for its successor.
OTHERS = {
    "llama-70b": ("Meta-Llama-3-70B", "Meta-Llama-3_1-70B-Instruct"),
    "qwen-110b": ("Qwen1.5-110B", "Qwen1.5-110B"),
    "yi-34b": ("Yi-34B", "Yi-34B"),
    "deepseek": ("deepseek-chat-v2", "deepseek-chat-v2"),
    "phi-3-mini": ("Phi-3-mini-4k-instruct", "Phi-3-mini-4k-instruct"),
    "mathstral": ("mathstral-7B", "mathstral-7B"),
}
HOME_DOMAINS = ("law", "history", "philosophy", "psychology", "health", "other")


def load_versions(recorded: Path, embedder: str, cache: Path) -> Sides:
    """Home: MMLU without the questions that MMLU-Pro took over. Abroad: MMLU-Pro, at its experts' prices."""
    home, foreign = (load_recorded(recorded / name) for name in ("mmlu", "mmlu_pro"))
    price = _mean_price(foreign, [new for _, new in VERSIONS.values()])
    home, foreign = _rename(home, foreign, VERSIONS, price)
    home = home.take(~np.isin(text_keys(home.prompts), text_keys(foreign.prompts)))
    return Sides(_read(home, embedder, cache), _read(foreign, embedder, cache), price)


def load_domains(recorded: Path, embedder: str, cache: Path) -> Sides:
    """Home: the humanities of MMLU-Pro and their like. Abroad: its sciences. Experts of another pool."""
    outcomes = load_recorded(recorded / "mmlu_pro")
    price = _mean_price(outcomes, [new for _, new in OTHERS.values()])
    at_home = np.isin(outcomes.domains, HOME_DOMAINS)
    keys = text_keys(outcomes.prompts)
    abroad = ~np.isin(keys, keys[at_home])
    home, foreign = _rename(outcomes.take(at_home), outcomes.take(abroad), OTHERS, price)
    return Sides(_read(home, embedder, cache), _read(foreign, embedder, cache), price)


STREAMS: dict[str, Callable[[Path, str, Path], Sides]] = {"versions": load_versions, "domains": load_domains}


def make_world(sides: Sides, seed: int, requests: int = REQUESTS) -> World:
    """Draw one stream. Questions come back once all of their side have been asked; held-out ones never."""
    rng = np.random.default_rng(seed)
    known, home_asked = _deal(sides.home.outcomes, KNOWN_SHARE, rng)
    home_held, home_asked = _deal(sides.home.outcomes, HELD_OUT, rng, home_asked)
    foreign_held, foreign_asked = _deal(sides.foreign.outcomes, HELD_OUT, rng)
    begin, end = (at * requests // REQUESTS for at in DRIFT)
    share = np.clip((np.arange(requests) - begin) / (end - begin), 0, 1)
    foreign = rng.random(requests) < share
    row = np.empty(requests, np.intp)
    for side, pool in ((False, home_asked), (True, foreign_asked)):
        row[foreign == side] = _passes(pool, int((foreign == side).sum()), rng)
    offset = len(sides.home)
    joined = join_examples(sides.home, sides.foreign)
    question = row + offset * foreign
    held = np.concatenate([home_held, foreign_held + offset])
    return World(
        known=sides.home.take(known),
        asked=joined.take(question),
        queries=joined.queries.take(question),
        score=joined.outcomes.score[question],
        question=question,
        held_out=joined.queries.take(held),
        held_out_score=joined.outcomes.score[held],
        held_out_foreign=held >= offset,
        foreign_share=share,
        price_usd=sides.price_usd,
    )


def _deal(
    outcomes: Outcomes, share: float, rng: np.random.Generator, among: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a random share of the different questions, and those of the rest."""
    rows = np.arange(len(outcomes)) if among is None else among
    keys = text_keys(outcomes.prompts)[rows]
    unique = rng.permutation(np.unique(keys))
    first = np.isin(keys, unique[: round(share * len(unique))])
    return rows[first], rows[~first]


def _passes(pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    passes = [rng.permutation(pool) for _ in range(-(-count // len(pool)))]
    return np.concatenate([*passes, pool[:0]])[:count]


def _mean_price(outcomes: Outcomes, names: list[str]) -> np.ndarray:
    price: np.ndarray = np.nanmean(outcomes.only(names).cost_usd, axis=0)
    return price


def _rename(
    home: Outcomes, foreign: Outcomes, versions: dict[str, tuple[str, str]], price: np.ndarray
) -> tuple[Outcomes, Outcomes]:
    """Give versions of one expert one name and one price, and leave out questions with missing answers."""
    sides = []
    for number, outcomes in enumerate((home, foreign)):
        own = outcomes.only([pair[number] for pair in versions.values()])
        own = own.answered(at_least=len(versions))
        sides.append(replace(own, experts=tuple(versions), cost_usd=np.tile(price, (len(own), 1))))
    return sides[0], sides[1]


def _read(outcomes: Outcomes, embedder: str, cache: Path) -> Examples:
    return Examples(read_queries(outcomes.texts, load_embedder(embedder, cache_dir=cache)), outcomes)


def join_examples(a: Examples, b: Examples) -> Examples:
    """Put the examples of ``b`` below those of ``a``; the experts are the same."""
    queries = Queries(
        np.vstack([a.queries.embeddings, b.queries.embeddings]),
        np.vstack([a.queries.surface, b.queries.surface]),
        a.queries.widths,
    )
    upper, lower = a.outcomes, b.outcomes
    parts = {
        field.name: np.concatenate([getattr(upper, field.name), getattr(lower, field.name)])
        for field in fields(upper)
        if field.name not in ("texts", "prompts", "experts")
    }
    texts, prompts = upper.texts + lower.texts, upper.prompts + lower.prompts
    return Examples(queries, Outcomes(texts=texts, prompts=prompts, experts=upper.experts, **parts))
