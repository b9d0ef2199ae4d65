"""How an expert is served: by a Ray Serve deployment of its own, or asked by the ingress where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ray import serve as ray_serve
from ray.serve.handle import DeploymentHandle

from experts import ExpertSpec, backend_env
from experts.upstream import ConnectionPool
from serve.experts.client import ExpertClient
from serve.experts.direct import DirectClient
from serve.experts.handle import HandleClient
from serve.experts.limits import MAX_ONGOING, MAX_QUEUED
from serve.experts.local import LocalClient
from serve.experts.vllm_expert import VllmExpert
from serve.transport.local_stream_caller import StreamCaller
from warehouse import InputError


class Hosted(NamedTuple):
    """An expert in a deployment of its own.

    Attributes:
        answers: what its replicas are. With a method ``address`` an only replica is asked by a socket, too.
        at_once: how many requests one of them works on at once.
        actor: what its process holds.
    """

    answers: type[Any]
    at_once: Callable[[ExpertSpec], int]
    actor: Callable[[ExpertSpec], dict[str, Any]]


@dataclass(frozen=True)
class Called:
    """An expert that runs elsewhere: every ingress asks it.

    Attributes:
        client: makes what asks it, in an ingress, with so many requests at once.
        at_once: how many requests the whole endpoint sends it at once.
    """

    client: Callable[[ExpertSpec, ConnectionPool, int], ExpertClient]
    at_once: Callable[[ExpertSpec], int]

    def share(self, spec: ExpertSpec, ingresses: int) -> int:
        """Return how many requests each of the ingresses may send at once: an equal share, rounded down.

        So they never send more together. What is left over is nobody's.

        Raises:
            InputError: it is less than one.
        """
        share = self.at_once(spec) // ingresses
        if not share:
            raise InputError(
                f"expert {spec.name!r} takes {self.at_once(spec)} requests at once, and {ingresses} ingresses"
                " are to share them",
                fix="raise its `concurrency:`, or use fewer `ingress_replicas`",
            )
        return share


def called(spec: ExpertSpec) -> Called | None:
    """Return the client by which the ingress calls an expert; None if the expert has a deployment."""
    row = DEPLOYMENTS.get(spec.backend)
    return row if isinstance(row, Called) else None


def bind_expert(spec: ExpertSpec) -> Any:
    """Return the bound deployment of an expert: engine, hardware and autoscaling; None where it has none."""
    row = DEPLOYMENTS[spec.backend]
    if isinstance(row, Called):
        return None
    return ray_serve.deployment(row[0], **deployment_options(spec)).bind(spec)


def hosted_client(spec: ExpertSpec, handle: DeploymentHandle, calls: StreamCaller) -> ExpertClient:
    """Return the client of an expert with a deployment.

    Args:
        spec: the expert.
        handle: of its deployment.
        calls: sends requests to the socket of a replica; serves as long as the deployment does.
    """
    by_handle = HandleClient(spec, handle)
    row = DEPLOYMENTS[spec.backend]
    # Several replicas share the work, and are added and taken away by what goes through their handle.
    has_one = spec.resources.replicas_min == spec.resources.replicas_max == 1
    if isinstance(row, Hosted) and hasattr(row.answers, "address") and has_one:
        return LocalClient(spec, calls, by_handle)
    return by_handle


def cpus_of(spec: ExpertSpec) -> float:
    """Return the logical CPUs that a replica of an expert with a deployment holds."""
    resources = spec.resources
    # Engines on one CPU machine share its cores: the count is book-keeping, not a partition.
    return resources.num_cpus if resources.num_gpus else min(resources.num_cpus, 0.5)


def _engine_actor(spec: ExpertSpec) -> dict[str, Any]:
    resources = spec.resources
    actor: dict[str, Any] = {"num_cpus": cpus_of(spec)}
    if resources.num_gpus:
        actor["num_gpus"] = resources.num_gpus
    if resources.accelerator_type:
        actor["accelerator_type"] = resources.accelerator_type
    if resources.node_labels:
        actor["label_selector"] = resources.node_labels
    return actor | {"runtime_env": {"env_vars": backend_env(spec)}}


#: One row for each backend that can be served.
DEPLOYMENTS: dict[str, Hosted | Called] = {
    "vllm": Hosted(VllmExpert, lambda _spec: MAX_ONGOING, _engine_actor),
    "openai": Called(DirectClient, lambda spec: spec.concurrency),
    "litellm": Called(DirectClient, lambda spec: spec.concurrency),
}


def deployment_options(spec: ExpertSpec) -> dict[str, Any]:
    """Return what Ray Serve should know of an expert with a deployment: name, hardware, replicas, queue."""
    resources = spec.resources
    row = DEPLOYMENTS[spec.backend]
    assert not isinstance(row, Called), spec.backend
    _, at_once, actor_of = row
    options: dict[str, Any] = {
        "name": deployment_name(spec.name),
        "max_ongoing_requests": at_once(spec),
        "max_queued_requests": MAX_QUEUED,
        "health_check_period_s": 10,
        "health_check_timeout_s": 60,
        "graceful_shutdown_timeout_s": 10,
        "logging_config": {"enable_access_log": False},
    }
    options["ray_actor_options"] = actor_of(spec)
    if resources.replicas_max > resources.replicas_min:
        options["autoscaling_config"] = {
            "min_replicas": resources.replicas_min,
            "max_replicas": resources.replicas_max,
            "target_ongoing_requests": max(1, options["max_ongoing_requests"] // 2),
        }
    else:
        options["num_replicas"] = resources.replicas_max
    return options


def deployment_name(expert: str) -> str:
    """Return the deployment's name: the expert's, without what Ray Serve does not take."""
    return "expert:" + "".join(char if char.isalnum() or char in "._-" else "_" for char in expert)
