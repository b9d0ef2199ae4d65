"""What tracing adds to a request: an endpoint that does not trace, one that traces a tenth, and all of that.

``python -m bench.gateway.tracing``; see :mod:`bench.gateway.pairs`. The second endpoint traces a tenth of
the requests whose callers do not say, and each whose caller traces its own.
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
TRACED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


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
        folders = [Path(scratch) / name for name in ("off", "on")]
        for folder in folders:
            folder.mkdir()
        with upstream(Path(scratch)) as api:
            root = api.address.url.split("/v1/")[0]
            with (
                ours(folders[0], root, options.embedder) as off,
                ours(folders[1], root, options.embedder, "--trace", "--trace-share", f"{SHARE:g}") as on,
            ):
                secret = on.make_key("on")
                arms = [
                    Arm("off", off.url, off.make_key("off")),
                    Arm(f"{SHARE:.0%}", on.url, secret),
                    Arm("all", on.url, secret, TRACED),
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
