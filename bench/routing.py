"""The routing benchmark: ``python -m bench.routing [RECORDED]`` prints every table for the pools A to G.

RECORDED is a folder of recorded answers with ``pools.yaml``. Splits by text 60/20/20, five seeds that test
every question once, choices on validation, paired bootstrap intervals.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bench.routing_data import add_recorded_argument, read_pools
from bench.routing_pools import BASELINES, ROUTER, compare_pools
from warehouse import LeerooError

PARTS = ("pools", "streams", "plans", "shift", "batch", "latency", "probes", "limits", "bounds", "asking")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_recorded_argument(parser)
    parser.add_argument("--pools", default="ABCDEFG")
    parser.add_argument("--parts", default="pools", help=f"comma-separated, of {', '.join(PARTS)}; or all")
    parser.add_argument(
        "--resume", action="store_true", help="keep the pools that --out has with these settings"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--replicates", type=int, default=500, help="bootstrap samples")
    parser.add_argument("--questions", type=int, help="of each pool at most, drawn at random; all by default")
    parser.add_argument("--single", action="store_true", help="one expert a query: no replay of several")
    parser.add_argument("--embedder", default="minilm-int8+wordllama")
    parser.add_argument("--predictors", default=",".join([*BASELINES, ROUTER]))
    parser.add_argument("--cascades", action="store_true", help="add the row of the router with cascades")
    parser.add_argument("--cache", type=Path, default=Path(".leeroo/cache/embeddings"))
    parser.add_argument("--out", type=Path, default=Path(".leeroo/bench/routing"))
    arguments = parser.parse_args()
    console = Console(width=170)
    parts = PARTS if arguments.parts == "all" else arguments.parts.split(",")
    try:
        pools = read_pools(arguments.recorded)
    except LeerooError as error:
        sys.exit(str(error))
    if "pools" in parts:
        compare_pools(arguments, [pools[name] for name in arguments.pools], console)
    if "streams" in parts:
        from bench.routing_streams import print_streams

        print_streams(arguments.recorded, pools, arguments.cache, console)
    if "plans" in parts:
        from bench.routing_plans import print_plans

        chosen = [pools[name] for name in arguments.pools]
        print_plans(arguments.recorded, chosen, arguments.embedder, arguments.cache, console)
    if "shift" in parts:
        from bench.routing_shift import print_shift

        print_shift(arguments.recorded, [pools[name] for name in arguments.pools], arguments.cache, console)
    if "batch" in parts:
        from bench.routing_speed import print_batch

        print_batch(console)
    if "latency" in parts:
        from bench.routing_speed import print_latency

        print_latency(arguments.recorded, pools["A"], arguments.cache, arguments.out, console)
    if "probes" in parts:
        from bench.routing_probes import print_probes

        print_probes(arguments.recorded, [pools["A"], pools["D"]], arguments.cache, console)
    if "asking" in parts:
        from bench.routing_asking import print_asking

        print_asking(console)
    if "limits" in parts:
        from bench.routing_limits import print_limits

        chosen = [pools[name] for name in arguments.pools]
        print_limits(arguments.recorded, chosen, arguments.embedder, arguments.cache, console)
    if "bounds" in parts:
        from bench.routing_bounds import print_bounds

        chosen = [pools[name] for name in arguments.pools]
        print_bounds(
            arguments.recorded, chosen, arguments.embedder, arguments.cache, console, arguments.seeds
        )


if __name__ == "__main__":
    main()
