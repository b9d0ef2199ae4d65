"""All gateways asked in turn, cell by cell: so many clients, prompts of so many tokens, whole or streamed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.gateway.gateways import Gateway
from bench.gateway.load import Question, Tally, load
from bench.gateway.usage import Cpu

_FIRST_S = 2.0
_WARMING_S = 0.7
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, order=True)
class Cell:
    """What is asked of every gateway alike."""

    prompt_tokens: int
    streamed: bool
    clients: int

    def __str__(self) -> str:
        kind = "streamed" if self.streamed else "whole"
        return f"{self.clients} client{'s' * (self.clients > 1)}, {kind}, {self.prompt_tokens:,} tokens"


QUICK = (
    Cell(50, False, 1),
    Cell(50, False, 32),
    Cell(50, True, 1),
    Cell(50, True, 32),
    Cell(20_000, False, 8),
)
FULL = tuple(
    Cell(tokens, streamed, clients)
    for tokens in (50, 20_000)
    for streamed in (False, True)
    for clients in (1, 8, 32, 128)
)


@dataclass
class Measured:
    """One gateway in one cell."""

    tally: Tally
    cpu_s: dict[str, float]

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU a request."""
        return 1e3 * sum(self.cpu_s.values()) / max(1, self.tally.asked)

    def figures(self, bare: Measured) -> dict[str, Any]:
        """Return the figures of the cell; ``bare`` is the upstream's own."""
        tally = self.tally
        told: dict[str, Any] = {
            "asked": tally.asked,
            "failed": tally.failed,
            "per_s": (tally.asked - tally.failed) / tally.wall_s if tally.wall_s else 0.0,
            "cpu_ms": self.cpu_ms,
            "cpu_ms_by_part": {part: 1e3 * s / max(1, tally.asked) for part, s in self.cpu_s.items() if s},
        }
        for name, first in (("", False), ("first_", True)):
            for label, q in (("p50", 0.5), ("p99", 0.99)):
                here_ms, there_ms = (side.tally.quantile_ms(q, first=first) for side in (self, bare))
                told |= {f"{name}{label}_ms": here_ms, f"{name}added_{label}_ms": here_ms - there_ms}
        return told


async def compare(
    gateways: Sequence[Gateway],
    cells: Sequence[Cell],
    *,
    seconds: float,
    rounds: int,
    tell: Callable[[str], None],
) -> dict[Cell, dict[str, Measured]]:
    """Ask every gateway for so many seconds in every cell, in turns of which each begins with another."""
    found: dict[Cell, dict[str, Measured]] = {}
    for gateway in gateways:  # what is loaded with the first requests
        for streamed in (False, True):
            first = {gateway.name: Question(gateway.address, 50, streamed=streamed)}
            await _ask(gateway, Cell(50, streamed, 4), first, _FIRST_S)
    for cell in cells:
        questions = {
            gateway.name: Question(gateway.address, cell.prompt_tokens, streamed=cell.streamed)
            for gateway in gateways
        }
        for turn in range(rounds):
            shift = (turn + len(found)) % len(gateways)
            for gateway in (*gateways[shift:], *gateways[:shift]):
                if not turn:
                    await _ask(gateway, cell, questions, _WARMING_S)
                measured = await _ask(gateway, cell, questions, seconds / rounds)
                _add(found.setdefault(cell, {}).setdefault(gateway.name, Measured(Tally(), {})), measured)
        told = (
            f"{name} {m.tally.asked / m.tally.wall_s:.0f}/s {m.cpu_ms:.1f} ms"
            for name, m in found[cell].items()
        )
        tell(f"{cell}: {', '.join(told)}")
    return found


async def _ask(gateway: Gateway, cell: Cell, questions: dict[str, Question], seconds: float) -> Measured:
    before = Cpu.of(gateway.roots)
    tally = await load((questions[gateway.name],), clients=cell.clients, numbers=_NUMBERS, seconds=seconds)
    return Measured(tally, Cpu.of(gateway.roots).since(before))


def _add(total: Measured, more: Measured) -> None:
    total.tally.took_s += more.tally.took_s
    total.tally.first_s += more.tally.first_s
    total.tally.failures += more.tally.failures
    total.tally.wall_s += more.tally.wall_s
    for part, seconds in more.cpu_s.items():
        total.cpu_s[part] = total.cpu_s.get(part, 0.0) + seconds


def idle_cpu(gateways: Sequence[Gateway], seconds: float) -> dict[str, dict[str, float]]:
    """Return the milliseconds of CPU that each gateway takes in a second in which nobody asks, by part."""
    before = {gateway.name: Cpu.of(gateway.roots) for gateway in gateways}
    began = time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began
    after = {gateway.name: Cpu.of(gateway.roots).since(before[gateway.name]) for gateway in gateways}
    return {name: {part: 1e3 * s / took_s for part, s in used.items()} for name, used in after.items()}


def figures_of(cell: Cell, measured: dict[str, Measured]) -> dict[str, Any]:
    """Return a cell as it is written to the file of figures."""
    bare = measured["upstream"]
    return asdict(cell) | {"gateways": {name: found.figures(bare) for name, found in measured.items()}}
