"""What tracing adds to a request: one endpoint that traces a tenth, and callers who say whether theirs are.

``python -m bench.gateway.tracing``; see :mod:`bench.gateway.pairs`. Requests whose callers say no are those
without tracing, all but for reading the header. Two endpoints side by side cannot be compared: they share
the processors unevenly.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console

from bench.gateway.gateways import ours, upstream
from bench.gateway.pairs import Arm, added_ms, measure, report

SHARE = 0.1
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1_000, help="of three requests, one of each kind")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], help="clients at once")
    parser.add_argument("--embedder", default="wordllama", help="of the router")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        traced = "--trace", "--trace-share", f"{SHARE:g}"
        with upstream(folder) as api:
            root = api.address.url.split("/v1/")[0]
            with ours(folder, root, options.embedder, *traced) as end:
                secret = end.make_key("bench")
                arms = [
                    Arm("off", end.url, secret, {"traceparent": f"{PARENT}0"}),
                    Arm(f"{SHARE:.0%}", end.url, secret),
                    Arm("all", end.url, secret, {"traceparent": f"{PARENT}1"}),
                ]
                for clients in options.clients:
                    took_s = measure(arms, options.rounds, clients, options.seed)
                    for place, arm in enumerate(arms[1:], 1):
                        name = f"{arm.name}, {clients} at once"
                        figures[name] = added_ms(took_s, place, options.seed)
    report(figures, Console())
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
