"""The savings of routing over asking one expert for everything, by the recorded forecasts."""

from __future__ import annotations

from collections.abc import Mapping

from serve.ledger.overview.seen import Savings, Tally

LEAST_SHARE = 0.5  # of the compared requests that the best expert has to have been a candidate for


def find_savings(everything: Tally, experts: Mapping[str, Tally]) -> Savings | None:
    """Return what was saved; None where no request was both routed and recorded.

    The best single expert is the one with the highest mean forecast of success, of equals the cheaper one,
    among those that were a candidate for half of the requests.
    """
    least = max(1.0, LEAST_SHARE * everything.compared)
    candidates = [name for name, tally in experts.items() if tally.compared >= least]
    if not candidates:
        return None

    def worth(name: str) -> tuple[float, float]:
        tally = experts[name]
        return tally.success / tally.compared, -tally.forecast_usd / tally.compared

    best = max(candidates, key=worth)
    tally = experts[best]
    return Savings(
        best,
        tally.compared,
        tally.forecast_usd,
        tally.success / tally.compared,
        tally.paid_usd,
        tally.chosen_usd,
        tally.chosen_success / tally.compared,
    )
