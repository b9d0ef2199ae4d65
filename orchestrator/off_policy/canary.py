"""The record of a canary: units of served traffic, assigned to the challenger or to the champion."""

from __future__ import annotations

import numpy as np

from orchestrator.off_policy.logged import LoggedTraffic
from orchestrator.off_policy.sequential import CanaryLog


def canary_log(logged: LoggedTraffic, challenger: str, champion: str) -> CanaryLog:
    """Return the units that were split between two versions, oldest first.

    A unit is what was assigned at random. A text always goes to the same side (``is_canary`` in
    ``serve/router/deciding.py``), and a conversation stays with the expert that answered first. So only the
    first request of a conversation, or of a text, counts, and the units are independent. A unit assigned to
    the challenger counts as the challenger's even if the champion had to decide. The canary begins with the
    challenger's first request.

    Args:
        logged: read from a warehouse.
        challenger, champion: versions.
    """
    requests = logged.requests
    assert requests is not None, "traffic that was read from a warehouse says who decided"
    is_challenger = (requests.router_version == challenger) & (requests.role == "challenger")
    is_champion = (requests.router_version == champion) & (requests.role == "champion")
    began = int(is_challenger.argmax()) if is_challenger.any() else len(logged)
    takes_part = (is_challenger | is_champion) & (np.arange(len(logged)) >= began)
    known = takes_part & (requests.canary_share > 0) & (requests.canary_share < 1)
    if known.any():  # else the rows are of a time before shares were written down
        takes_part = known
    rows = np.flatnonzero(takes_part)
    _, first = np.unique(logged.unit[rows], return_index=True)
    units = rows[np.sort(first)]
    drawn = requests.canary[units]
    found = np.clip(drawn.mean(), 1 / (len(units) + 1), 1 - 1 / (len(units) + 1)) if len(units) else 0.5
    share = requests.canary_share[units] if known.any() else np.full(len(units), found)
    reward = logged.reward[units]
    rated = np.flatnonzero(np.isfinite(reward))
    return CanaryLog(
        challenger=drawn,
        share=share,
        reward=reward,
        cost_usd=logged.cost_usd[units],
        rated=rated[np.argsort(requests.rated_at[units][rated], kind="stable")],
    )
