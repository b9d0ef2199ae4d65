"""A look at the canary of a running endpoint: what the traffic shows is done, and logged."""

from __future__ import annotations

import logging

from serve.config import ServeConfig
from serve.router.champion import tracking_uri
from serve.router.deciding import Loaded
from warehouse import Warehouse

logger = logging.getLogger("ray.serve")


def judge(config: ServeConfig, champion: Loaded, challenger: Loaded) -> None:
    """Promote or stop the challenger if its canary has shown enough; cheap enough for every minute."""
    from orchestrator.off_policy.sequential import CanaryDecision, CanaryRule
    from orchestrator.versions.canary_watch import end_canary

    if not 0 < config.canary_share < 1 or config.router_dir is not None:
        return
    ended = end_canary(
        tracking_uri(config),
        Warehouse(config.warehouse_url or str(config.home / "warehouse")),
        challenger=challenger.version,
        champion=champion.version,
        rule=CanaryRule(champion.orchestrator.multiplier),
    )
    if ended is None:
        return
    told = logger.info if ended.done == CanaryDecision.GO_ON else logger.warning
    told(
        "canary of version %s against %s: %s, %s", challenger.version, champion.version, ended.done, ended.why
    )
