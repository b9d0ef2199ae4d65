"""What serves the stream: the frozen router, ours that learns, and one that is told everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.traffic_people import AUDITED, FEEDBACK_SHARE, JUDGE_USD, SHADOWED_SHARE, Desk
from bench.traffic_world import World
from orchestrator.predictors.base import Predictor
from orchestrator.predictors.registry import build_predictor
from orchestrator.selection.exploration import explore
from orchestrator.text.queries import Examples, Queries
from orchestrator.traffic.drift import measure_novelty
from orchestrator.traffic.gate import Foretold, may_take_over
from orchestrator.traffic.labels import MOST_WEIGHT
from orchestrator.traffic.learn import foretell, learn_from_traffic
from orchestrator.traffic.worth_asking import choose_shadows

BLOCK = 1_000  # requests between two lessons


@dataclass(frozen=True)
class Track:
    """What an arm comes to, block by block, on the held-out questions in the mix of the block's requests."""

    accuracy: np.ndarray  # [b]
    cost_usd: np.ndarray  # [b] of a request's answer
    greedy_usd: np.ndarray  # [b] of all answers of the block, had nobody explored
    learning_usd: np.ndarray  # [b] paid beyond that: dearer experts explored, shadow answers, the judge
    labels: int = 0
    took_over: np.ndarray | None = None  # [b] whether what was learned decided

    def value(self, multiplier: float) -> np.ndarray:
        """Success less the price of all that was paid, learning included [b]."""
        return self.accuracy - multiplier * (self.cost_usd + self.learning_usd / BLOCK)


@dataclass(frozen=True)
class Lessons:
    """How ours learns."""

    explored: float = 0.02  # share of the requests on which a softmax draws
    explored_usd: float = 0.01  # of the greedy cost that exploring may cost more
    shadows_usd: float = 0.035  # of the greedy cost that shadow answers and verdicts may cost
    temperature: float = 0.05
    most_weight: float = MOST_WEIGHT
    gate: bool = True
    if_needed: bool = False  # shadows only while something speaks for drift; what is saved is spent then
    blindly: bool = False  # shadows by chance, to see what choosing them is worth

    @property
    def pays(self) -> bool:
        return self.explored > 0 or self.shadows_usd > 0


OURS = Lessons()
UNEXPLORED = Lessons(explored=0.0, shadows_usd=0.0)


class Recorder:
    """Writes down what a policy comes to."""

    def __init__(self, world: World, blocks: int) -> None:
        self.world = world
        self.figures = np.zeros((4, blocks))
        self.took_over = np.zeros(blocks, bool)

    def note(self, b: int, propensities: np.ndarray, greedy_usd: float, learning_usd: float) -> None:
        world = self.world
        mix = world.mix(slice(b * BLOCK, (b + 1) * BLOCK))
        accuracy = mix @ (propensities * world.held_out_score).sum(axis=1)
        self.figures[:, b] = accuracy, mix @ (propensities @ world.price_usd), greedy_usd, learning_usd

    def track(self, labels: int = 0) -> Track:
        return Track(*self.figures, labels, self.took_over)


def choices(success: np.ndarray, price_usd: np.ndarray, multiplier: float) -> np.ndarray:
    """The greedy choice as propensities [n, m]."""
    value = success - multiplier * price_usd
    return np.eye(value.shape[1])[value.argmax(axis=1)]


def serve_frozen(world: World, frozen: Predictor, multiplier: float) -> Track:
    blocks = len(world.score) // BLOCK
    recorder = Recorder(world, blocks)
    held_out = choices(frozen.predict(world.held_out), world.price_usd, multiplier)
    stream = choices(frozen.predict(world.queries), world.price_usd, multiplier) @ world.price_usd
    for b in range(blocks):
        recorder.note(b, held_out, float(stream[b * BLOCK : (b + 1) * BLOCK].sum()), 0.0)
    return recorder.track()


def serve_ours(
    world: World, frozen: Predictor, known: Queries, multiplier: float, seed: int, lessons: Lessons = OURS
) -> Track:
    """Serve, collect labels, learn from them every thousand requests, and let a gate say who decides."""
    rng = np.random.default_rng([seed, 1])
    desk, price = Desk(np.random.default_rng([seed, 2])), world.price_usd
    blocks, everyone = len(world.score) // BLOCK, np.ones((BLOCK, len(price)), bool)
    recorder, history, learned = Recorder(world, blocks), list[Foretold](), None
    explore_left = shadow_left = 0.0
    audited, asked = False, 0
    for b in range(blocks):
        rows = np.arange(b * BLOCK, (b + 1) * BLOCK)
        queries = world.queries.take(rows)
        serves = learned is not None and (not lessons.gate or may_take_over(history))
        predictor: Predictor = learned.predictor if learned and serves else frozen
        success = predictor.predict(queries)
        value = success - multiplier * price
        greedy = value.argmax(axis=1)
        greedy_usd = float(price[greedy].sum())
        explore_left += lessons.explored_usd * greedy_usd
        chosen, p = explore(value, everyone, lessons.explored, lessons.temperature, rng)
        # an explored answer that the purse cannot pay is not given; the chance of the others is as it was
        more = np.maximum(price[chosen] - price[greedy], 0)
        unpaid = np.cumsum(more) > explore_left
        chosen = np.where(unpaid & (more > 0), greedy, chosen)
        extra = np.maximum(price[chosen] - price[greedy], 0).sum()
        explore_left -= extra
        since = len(desk.label)
        told = np.flatnonzero(rng.random(BLOCK) < FEEDBACK_SHARE)
        p_told = p[told, chosen[told]]
        desk.hear(rows[told], chosen[told], world.score[rows[told], chosen[told]], 0, p_told)
        shadow_left += lessons.shadows_usd * greedy_usd
        is_needed = not lessons.if_needed or serves or is_unlike(queries, known)
        audit_usd = 0.0 if audited else AUDITED * JUDGE_USD
        buys = lessons.shadows_usd > 0 and is_needed and shadow_left > audit_usd
        audit_usd *= buys
        if buys and not audited:
            audited = True
            desk.audit_judge(rng.permutation(world.known.outcomes.score.ravel())[:AUDITED])
        shadow_left -= audit_usd
        pairs = (
            choose_shadows(
                rng.random(success.shape) if lessons.blindly else success,
                np.tile(price, (BLOCK, 1)),
                queries.embeddings,
                known.embeddings,
                max(shadow_left, 0.0),
                np.ones(BLOCK),
                multiplier=0.0 if lessons.blindly else multiplier,
                uncertainty=learned.predictor.uncertainty(queries, frozen.predict(queries))
                if learned and not lessons.blindly
                else None,
                answered=chosen,
                judge_usd=JUDGE_USD,
                most_requests=max(round(SHADOWED_SHARE * BLOCK * (b + 1)) - asked, 0),
            )
            if buys
            else []
        )
        asked += len({i for i, _ in pairs})
        paid = sum(JUDGE_USD + (price[j] if chosen[i] != j else 0.0) for i, j in pairs)
        shadow_left -= paid
        if pairs:
            at, whose = np.array(pairs).T
            desk.hear(rows[at], whose, world.score[rows[at], whose], 1, np.ones(len(at)))
        held_out = predictor.predict(world.held_out)
        shown = choices(held_out, price, multiplier)
        if lessons.explored:
            _, shown = explore(
                held_out - multiplier * price, np.ones(held_out.shape, bool), lessons.explored,
                lessons.temperature, np.random.default_rng(0),
            )  # fmt: skip
        recorder.note(b, shown, greedy_usd, float(extra + paid) + audit_usd)
        recorder.took_over[b] = serves
        experts, served = frozen.experts, (b + 1) * BLOCK
        if learned:
            fresh = desk.labels(world.queries, experts, served, since)
            history.append(foretell(fresh, frozen.predict(fresh.queries), learned))
        learned = learn_from_traffic(
            frozen, known, desk.labels(world.queries, experts, served), most_weight=lessons.most_weight
        )
    return recorder.track(len(desk.label))


def is_unlike(requests: Queries, known: Queries) -> bool:
    """Are more of the requests novel than of the questions learned from, beyond chance?"""
    found = measure_novelty(requests.embeddings, known.embeddings)
    return found is not None and found.low > found.expected


class Remembered:
    """A fitted predictor that forecasts each query once: the bench asks it again and again."""

    kind = "remembered"

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.experts, self._known = predictor, predictor.experts, dict[bytes, np.ndarray]()

    def predict(self, queries: Queries) -> np.ndarray:
        keys = [row.tobytes() for row in queries.joined]
        first = {key: i for i, key in enumerate(keys) if key not in self._known}
        new = np.array(list(first.values()), np.intp)
        if len(new):
            for i, success in zip(new, self.predictor.predict(queries.take(new)), strict=True):
                self._known[keys[i]] = success
        return np.array([self._known[key] for key in keys], np.float32).reshape(-1, len(self.experts))


FULL_AFTER = (6, 12)  # blocks: when the router that is told everything is trained again


def forecasts_of_full(world: World, frozen: Predictor, asked: Examples, seed: int) -> list[np.ndarray]:
    """Forecasts of the held-out questions, block by block, by a router that sees every expert's true score.

    Now and then a stack is trained anew on all questions served so far (``asked`` holds the stream's), which
    came out ahead of one on these and on what was known before.
    """
    blocks, found = len(world.score) // BLOCK, []
    forecast = frozen.predict(world.held_out)
    for b in range(blocks):
        found.append(forecast)
        if b + 1 in FULL_AFTER and b + 1 < blocks:
            _, first = np.unique(world.question[: (b + 1) * BLOCK], return_index=True)
            forecast = _train(asked.take(np.sort(first)), seed).predict(world.held_out)
    return found


def _train(examples: Examples, seed: int) -> Predictor:
    order = np.random.default_rng(seed).permutation(len(examples))
    cut = len(order) // 4
    stack = build_predictor("stack").fit(examples.take(order[cut:]), examples.take(order[:cut]), seed=seed)
    return stack.refit(examples)
