"""One Ray Serve deployment per expert, from its entry in the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import serve as ray_serve

from experts import ExpertSpec, backend_env
from experts.upstream import hand_over_keys
from serve.experts.api_expert import ApiExpert
from serve.experts.vllm_expert import VllmExpert

#: Conversations that one CPU or GPU replica works on at once; further ones wait in the queue of their sender.
MAX_ONGOING = 64
MAX_QUEUED = 256


def bind_expert(spec: ExpertSpec) -> Any:
    """Return the bound deployment of an expert: engine or API client, hardware and autoscaling."""
    return ray_serve.deployment(DEPLOYMENTS[spec.backend][0], **deployment_options(spec)).bind(spec)


def _engine_actor(spec: ExpertSpec) -> dict[str, Any]:
    resources = spec.resources
    # Engines on one CPU machine share its cores: the count is book-keeping, not a partition.
    actor: dict[str, Any] = {
        "num_cpus": resources.num_cpus if resources.num_gpus else min(resources.num_cpus, 0.5)
    }
    if resources.num_gpus:
        actor["num_gpus"] = resources.num_gpus
    if resources.accelerator_type:
        actor["accelerator_type"] = resources.accelerator_type
    return actor | {"runtime_env": {"env_vars": backend_env(spec)}}


def _client_actor(spec: ExpertSpec) -> dict[str, Any]:
    handed_over = hand_over_keys([spec])
    return {"num_cpus": 0} | ({"runtime_env": {"env_vars": handed_over}} if handed_over else {})


#: By backend: what answers, how many requests one replica works on at once, and what its process holds.
DEPLOYMENTS: dict[
    str, tuple[type[Any], Callable[[ExpertSpec], int], Callable[[ExpertSpec], dict[str, Any]]]
] = {
    "vllm": (VllmExpert, lambda _spec: MAX_ONGOING, _engine_actor),
    "openai": (ApiExpert, lambda spec: spec.concurrency, _client_actor),
}


def deployment_options(spec: ExpertSpec) -> dict[str, Any]:
    """Return what Ray Serve should know of an expert: name, hardware, replicas, queue."""
    resources = spec.resources
    _, at_once, actor_of = DEPLOYMENTS[spec.backend]
    options: dict[str, Any] = {
        "name": deployment_name(spec.name),
        "max_ongoing_requests": at_once(spec),
        "max_queued_requests": MAX_QUEUED,
        "health_check_period_s": 10,
        "health_check_timeout_s": 60,
        "graceful_shutdown_timeout_s": 10,
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
