"""The universe benchmark: ``python -m bench.universe [RECORDED]`` prints its tables, figures go to ``--out``.

RECORDED is a folder of recorded answers with ``pools.yaml``. Expected success is cross-fitted kNN; held-out
figures come from five 60/40 splits by text, with paired bootstrap 95% intervals.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from bench.routing_data import add_recorded_argument, read_pools
from bench.universe_baselines import print_baselines, print_greedy_traps
from bench.universe_expected import print_expected_or_raw
from bench.universe_gaps import print_gaps
from bench.universe_policy import print_by_policy
from bench.universe_proof import print_brute_force, print_frontier
from bench.universe_robust import print_robust
from bench.universe_scale import print_masters, print_scale, print_textbook
from warehouse import LeerooError

Part = Callable[[Path, Path, Console], None]
PARTS: dict[str, Part] = {
    "frontier": print_frontier,
    "brute-force": print_brute_force,
    "baselines": print_baselines,
    "greedy": print_greedy_traps,
    "expected": print_expected_or_raw,
    "gaps": print_gaps,
    "robust": print_robust,
    "scale": print_scale,
    "textbook": print_textbook,
    "masters": print_masters,
    "policy": print_by_policy,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_recorded_argument(parser)
    usual = ",".join(name for name in PARTS if name not in ("masters", "policy"))
    parser.add_argument("--parts", default=usual, help=f"comma-separated, of {', '.join(PARTS)} [{usual}]")
    parser.add_argument("--out", type=Path, default=Path(".leeroo/bench/universe"), help="figures and caches")
    arguments = parser.parse_args()
    names = arguments.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    try:
        read_pools(arguments.recorded)
    except LeerooError as error:
        sys.exit(str(error))
    arguments.out.mkdir(parents=True, exist_ok=True)
    console = Console(width=190)
    for name in names:
        began = time.perf_counter()
        PARTS[name](arguments.recorded, arguments.out, console)
        console.print(f"[dim]{name}: {time.perf_counter() - began:.0f} s[/dim]")


if __name__ == "__main__":
    main()
