"""What tracing adds to a request: one endpoint that traces a tenth, and callers who say whether theirs are.

``python -m bench.gateway.tracing``; see :mod:`bench.gateway.pairs`. Requests whose callers say no are those
without tracing, all but for reading the header. Two endpoints side by side cannot be compared: they share
the processors unevenly.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.gateway.gateways import ours, upstream
from bench.gateway.pairs import Arm, added_ms, measure, read_options, report

SHARE = 0.1
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"


def main() -> None:
    options = read_options(__doc__, "--rounds", 1_000, "of three requests, one of each kind")
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
    report(figures, options.json)


if __name__ == "__main__":
    main()
