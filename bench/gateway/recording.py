"""What recording adds to a request: one endpoint, asked with a key that is recorded and one that is not.

``python -m bench.gateway.recording``; see :mod:`bench.gateway.pairs`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console

from bench.gateway.gateways import Ours, ours, upstream
from bench.gateway.pairs import Arm, added_ms, measure, report

KINDS = ("none", "features")


def make_arms(endpoint: Ours) -> list[Arm]:
    """Make a key of each kind."""
    from serve.ledger.ledger import LEDGER_FILE, Ledger

    arms = [Arm(kind, endpoint.url, endpoint.make_key(kind)) for kind in KINDS]
    ledger = Ledger(endpoint.home / LEDGER_FILE)
    for kind in KINDS:
        ledger.change_key(kind, record=kind)  # type: ignore[arg-type]
    ledger.close()
    return arms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_500, help="of requests, recorded and not")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], help="clients at once")
    parser.add_argument("--embedder", default="wordllama", help="of the router")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with upstream(folder) as api, ours(folder, api.address.url.split("/v1/")[0], options.embedder) as end:
            arms = make_arms(end)
            for clients in options.clients:
                took_s = measure(arms, options.pairs, clients, options.seed)
                figures[f"{clients} at once"] = added_ms(took_s, 1, options.seed)
    report(figures, Console())
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
