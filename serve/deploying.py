"""The configuration file that ``serve deploy`` takes, made from catalogue and champion.

It names every deployment with its hardware and replicas, so that an operator sees and may change them; what
is in the file wins over what the code would choose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ray.serve.schema import ServeDeploySchema

from experts.upstream.credentials import KEYS_FILE
from serve.app import build
from serve.config import ServeConfig
from serve.front.haproxy import haproxy_settings
from serve.http.proxy_errors import IMPORT_PATH as FRONT
from serve.run import APP_NAME

IMPORT_PATH = "serve.app:build"

_HEADER = """\
# Made by `leeroo serve --write-config`. On a running cluster, on whose nodes the project is installed:
#   serve deploy {name}
# The nodes must reach `home` and `tracking_uri`; API keys are read from their environment. Start every node
# with these variables. The first lets its proxies word errors as OpenAI does; the others make HAProxy the
# front, which costs a fraction of Ray Serve's proxy in Python (leave them out to have that):
#   RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH={callback}
{variables}
# {program} is written by
#   python -m serve.front {folder}
"""
_PROGRAM_FOLDER = Path("/opt/leeroo-haproxy")


def deploy_config(config: ServeConfig) -> dict[str, Any]:
    """Return the endpoint as Ray Serve's configuration; it fits Serve's schema.

    Raises:
        LeerooError: a setting is wrong, there is no champion, or an expert cannot be served.
    """
    settings = config.model_dump(mode="json", exclude_defaults=True) | {"access": config.access}
    if config.access == "auto":
        settings["access"] = (
            "keys"  # the address is Serve's setting here, so nothing can be concluded from it
        )
    deployments = [_deployment(bound) for bound in _bound_deployments(build(config))]
    described = {
        "proxy_location": "EveryNode",
        "http_options": {
            "host": config.host,
            "port": config.port,
            "request_timeout_s": config.longest_request_s,
        },
        "logging_config": {"log_level": "WARNING"},
        "applications": [
            {
                "name": APP_NAME,
                "route_prefix": "/",
                "import_path": IMPORT_PATH,
                "args": settings,
                "deployments": deployments,
            }
        ],
    }
    ServeDeploySchema.model_validate(described)
    return described


def write_deploy_config(config: ServeConfig, path: Path) -> None:
    """Write the configuration as YAML; see :func:`deploy_config`."""
    text = yaml.safe_dump(deploy_config(config), sort_keys=False)
    program = _PROGRAM_FOLDER / "haproxy"
    variables = haproxy_settings(program, config.longest_request_s)
    header = _HEADER.format(
        name=path.name,
        callback=FRONT,
        variables="\n".join(f"#   {name}={value}" for name, value in variables.items()),
        program=program,
        folder=_PROGRAM_FOLDER,
    )
    path.write_text(header + text, encoding="utf-8")


def _bound_deployments(app: Any) -> list[Any]:
    """Return the deployments of a bound application, those it calls first."""
    found: dict[str, Any] = {}

    def visit(value: Any) -> None:
        if isinstance(value, (list, tuple)):
            for member in value:
                visit(member)
        elif bound := getattr(value, "_bound_deployment", None):
            visit(bound.init_args)
            found[bound.name] = bound

    visit(app)
    return list(found.values())


def _deployment(bound: Any) -> dict[str, Any]:
    """Return one deployment as the schema words it."""
    actor = dict(bound.ray_actor_options)
    if runtime_env := actor.get("runtime_env"):
        # The file with keys lies here; the nodes' environment must give them there.
        env = {name: value for name, value in runtime_env.get("env_vars", {}).items() if name != KEYS_FILE}
        actor["runtime_env"] = {**runtime_env, "env_vars": env}
    described: dict[str, Any] = {
        "name": bound.name,
        "ray_actor_options": actor,
        "max_ongoing_requests": bound.max_ongoing_requests,
        "max_queued_requests": bound.max_queued_requests,
    }
    if scaling := bound._deployment_config.autoscaling_config:
        described["autoscaling_config"] = {
            "min_replicas": scaling.min_replicas,
            "max_replicas": scaling.max_replicas,
            "target_ongoing_requests": scaling.target_ongoing_requests,
        }
    else:
        described["num_replicas"] = bound.num_replicas
    return described
