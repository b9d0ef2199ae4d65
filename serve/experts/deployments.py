"""One Ray Serve deployment per expert, from its entry in the catalogue."""

from __future__ import annotations

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
    return ray_serve.deployment(
        VllmExpert if spec.backend == "vllm" else ApiExpert, **deployment_options(spec)
    ).bind(spec)


def deployment_options(spec: ExpertSpec) -> dict[str, Any]:
    """Return what Ray Serve should know of an expert: name, hardware, replicas, queue."""
    resources = spec.resources
    is_vllm = spec.backend == "vllm"
    options: dict[str, Any] = {
        "name": deployment_name(spec.name),
        "max_ongoing_requests": MAX_ONGOING if is_vllm else spec.concurrency,
        "max_queued_requests": MAX_QUEUED,
        "health_check_period_s": 10,
        "health_check_timeout_s": 60,
        "graceful_shutdown_timeout_s": 10,
    }
    actor: dict[str, Any] = {"num_cpus": resources.num_cpus if is_vllm else 0}
    if is_vllm:
        if resources.num_gpus:
            actor["num_gpus"] = resources.num_gpus
        else:
            # Engines on one CPU machine share its cores: the count is book-keeping, not a partition.
            actor["num_cpus"] = min(resources.num_cpus, 0.5)
        if resources.accelerator_type:
            actor["accelerator_type"] = resources.accelerator_type
        actor["runtime_env"] = {"env_vars": backend_env(spec)}
    elif handed_over := hand_over_keys([spec]):
        actor["runtime_env"] = {"env_vars": handed_over}
    options["ray_actor_options"] = actor
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
