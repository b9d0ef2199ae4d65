"""The router as an ingress reaches it."""

from __future__ import annotations

from ray.serve.handle import DeploymentHandle

from serve.router.messages import Query, Refused, Ruling
from serve.transport.coalescing import Coalescer
from serve.transport.patient_call import call, local_caller


class RouterHandle:
    """Talks to the router's deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        # Small groups, so that the first of many requests need not wait for the decisions on all.
        self._decide: Coalescer[Query, Ruling | Refused] = Coalescer(local_caller(handle, "decide"), most=8)

    async def decide(self, query: Query) -> Ruling:
        """Decide on one query; InputError or NobodyMayAnswerError where it cannot be."""
        ruling = await self._decide(query)
        if isinstance(ruling, Refused):
            raise ruling
        return ruling

    async def version(self) -> str:
        """Return the version of the champion in use."""
        return str(await call(self._handle.version))
