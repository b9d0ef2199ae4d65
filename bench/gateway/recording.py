"""What recording adds to a request: one endpoint, asked with a key that is recorded and one that is not.

``python -m bench.gateway.recording``; see :mod:`bench.gateway.pairs`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.gateway.gateways import Ours, ours, upstream
from bench.gateway.pairs import Arm, added_ms, measure, read_options, report

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
    options = read_options(__doc__, "--pairs", 1_500, "of requests, recorded and not")
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with upstream(folder) as api, ours(folder, api.address.url.split("/v1/")[0], options.embedder) as end:
            arms = make_arms(end)
            for clients in options.clients:
                took_s = measure(arms, options.rounds, clients, options.seed)
                figures[f"{clients} at once"] = added_ms(took_s, 1, options.seed)
    report(figures, options.json)


if __name__ == "__main__":
    main()
