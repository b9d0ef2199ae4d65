"""How a gap is closed: the making of its specialist, what it is tested on, and what all of it may cost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pipelines.forge.closing.cap import Cap
from pipelines.forge.closing.plan import Prices
from pipelines.forge.run import ForgeSettings


@dataclass(frozen=True)
class CloseSettings:
    """How a specialist is made, what it is tested on, and what all of it may cost."""

    forge: ForgeSettings
    held_out: int = 120
    elsewhere: int = 140
    probes: int = 200
    judged_on: int = 480  # questions beyond the frozen set, in its proportion or the traffic's
    cap: Cap = field(default_factory=Cap)
    prices: Prices | None = None  # by which it has to pay; None: it is not planned
    probe_steps: int = 24  # of the training, after which the plan is made
    price_weight: float = 0.0  # the score that one USD per query has to buy


def watch_probe(settings: ForgeSettings, probe_steps: int) -> ForgeSettings:
    """The settings, evaluated at least twice within the first steps: a plan needs a curve."""
    every = max(1, min(settings.recipe.evaluate_every, probe_steps // 2))
    return replace(settings, recipe=replace(settings.recipe, evaluate_every=every))
