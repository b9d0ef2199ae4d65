"""The clients of an ingress's experts: made when it starts, and again when the catalogue has changed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ray.serve.handle import DeploymentHandle

from experts import ExpertSpec
from experts.upstream import ConnectionPool
from serve.config import ServeConfig, served_experts
from serve.experts.client import ExpertClient
from serve.experts.deployments import called, hosted_client
from serve.transport.local_stream_caller import StreamCaller
from serve.transport.patient_call import locate
from warehouse import CannotRunError

#: What an engine need not be started anew for.
_FREE = (
    *("prices", "capabilities", "tags", "timeout_s"),
    *("first_token_s", "retries", "cooldown", "hedge"),
)


class ExpertClients:
    """Makes the clients by which an ingress asks its experts.

    Args:
        config: of the endpoint.
        handles: by expert's name, of those that run in deployments of this endpoint.
    """

    def __init__(self, config: ServeConfig, handles: Mapping[str, DeploymentHandle]) -> None:
        self._config, self._handles = config, handles
        self._pool = ConnectionPool()
        # An expert whose prices change has another client, and the same engine.
        self._calls = {name: StreamCaller(partial(locate, one.address)) for name, one in handles.items()}

    def make(self, spec: ExpertSpec) -> ExpertClient:
        """Return the client of an expert.

        Raises:
            LeerooError: it cannot be asked from here.
        """
        if (handle := self._handles.get(spec.name)) is not None:
            return hosted_client(spec, handle, self._calls[spec.name])
        row = called(spec)
        if row is None:
            raise CannotRunError(
                f"expert {spec.name!r} needs an engine, which starts with the endpoint",
                fix="start the endpoint again, or leave it out",
            )
        return row.client(spec, self._pool, row.share(spec, self._config.ingress_replicas))

    def read_again(self, now: Mapping[str, ExpertClient]) -> dict[str, ExpertClient]:
        """Return the clients of the catalogue as it is now; experts that did not change keep theirs.

        Raises:
            LeerooError: the catalogue is wrong, or asks for another engine.
        """
        specs = served_experts(self._config, tuple(now))
        clients = {}
        for spec in specs:
            known = now.get(spec.name)
            if known is not None and known.spec == spec:
                clients[spec.name] = known
                continue
            if spec.name in self._handles and known is not None:
                same = spec.model_copy(update={name: getattr(known.spec, name) for name in _FREE})
                if same != known.spec:
                    raise CannotRunError(
                        f"expert {spec.name!r} has an engine here, which cannot change while it runs",
                        fix=f"start the endpoint again; only {', '.join(_FREE)} may change meanwhile",
                    )
            clients[spec.name] = self.make(spec)
        return clients
