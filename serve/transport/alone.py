"""Whether a replica is all of its deployment."""

from __future__ import annotations

import asyncio

from ray import serve as ray_serve

_ENDING = "STOPPING"


async def is_alone() -> bool:
    """Tell whether the replica that asks does all the work of its deployment, and is to go on doing it.

    Not by what the code chose: an operator's configuration file, and a later change of it, go before that.
    """
    context = ray_serve.get_replica_context()
    if context._deployment_config.autoscaling_config is not None:
        return False
    status = await asyncio.to_thread(ray_serve.status)
    states: dict[str, int] = (
        status.applications[context.app_name].deployments[context.deployment].replica_states
    )
    return sum(count for state, count in states.items() if state != _ENDING) <= 1
