"""The deployment files parse, fit the schemas of the tools installed here, and name things that exist."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
README = (INFRA / "README.md").read_text(encoding="utf-8")
YAML_FILES = sorted(INFRA.rglob("*.yaml"))


def load(name):
    return yaml.safe_load((INFRA / name).read_text(encoding="utf-8"))


def selfplay_options():
    import typer.main

    from pipelines.commands.selfplay import selfplay

    alone = typer.Typer()
    alone.command()(selfplay)
    return {option for parameter in typer.main.get_command(alone).params for option in parameter.opts}


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: str(path.relative_to(INFRA)))
def test_yaml_parses(path):
    assert list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def test_ray_accepts_the_cluster_file():
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster = prepare_config(load("ray-cluster.yaml"))
    validate_config(cluster)
    kinds = cluster["available_node_types"]
    assert "GPU" not in kinds[cluster["head_node_type"]]["resources"]
    workers = [kind for name, kind in kinds.items() if name != cluster["head_node_type"]]
    assert all(kind["resources"]["GPU"] >= 1 and kind["min_workers"] == 0 for kind in workers)
    assert sum(kind["max_workers"] for kind in workers) == cluster["max_workers"]


def test_every_expert_of_the_example_finds_a_node_in_the_cluster():
    from experts import load_catalogue

    kinds = load("ray-cluster.yaml")["available_node_types"].values()
    (command,) = re.findall(r"--catalogue (\S+/gpu-node\.yaml)", README)
    for spec in load_catalogue(ROOT / Path(command).relative_to("/app")).experts:
        wanted = {"CPU": spec.resources.num_cpus, "GPU": spec.resources.num_gpus}
        if spec.resources.accelerator_type:
            wanted[f"accelerator_type:{spec.resources.accelerator_type}"] = 0.001
        assert any(
            all(kind["resources"].get(name, 0) >= amount for name, amount in wanted.items()) for kind in kinds
        ), spec.name


def test_nodes_of_the_cluster_may_reach_the_hub_and_the_bucket():
    cluster = load("ray-cluster.yaml")
    options = cluster["docker"]["run_options"]
    for name in ("HF_TOKEN_PATH", "RAY_AUTH_TOKEN_PATH"):
        (path,) = [option.split("=")[1] for option in options if option.startswith(f"--env {name}=")]
        assert path in cluster["file_mounts"]
    workers = [kind for kind in cluster["available_node_types"].values() if kind["max_workers"]]
    (profile,) = {kind["node_config"]["IamInstanceProfile"]["Name"] for kind in workers}
    assert f"--instance-profile-name {profile}" in README
    assert "iam:PassRole" in README  # without it the head may not start such a worker
    assert any("boto3" in command for command in cluster["head_setup_commands"])


def test_ray_clusters_ask_for_a_token_and_keep_the_dashboard_local():
    cluster = load("ray-cluster.yaml")
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])
    for spec in (
        load("kuberay/selfplay-job.yaml")["spec"]["rayClusterSpec"],
        load("kuberay/serve.yaml")["spec"]["rayClusterConfig"],
    ):
        assert spec["authOptions"] == {"mode": "token"}


def test_the_job_runs_a_command_that_exists():
    from importlib.util import find_spec

    python, flag, module, *arguments = shlex.split(load("kuberay/selfplay-job.yaml")["spec"]["entrypoint"])
    assert (python, flag) == ("python", "-m")
    assert find_spec(module) is not None
    assert {argument for argument in arguments if argument.startswith("--")} <= selfplay_options()


def test_the_service_fits_serves_schema_and_the_endpoints_settings():
    import importlib

    from ray.serve.schema import ServeDeploySchema

    from serve.config import ServeConfig
    from serve.front import IMPORT_PATH as FRONT

    deployment = ServeDeploySchema.model_validate(
        yaml.safe_load(load("kuberay/serve.yaml")["spec"]["serveConfigV2"])
    )
    (application,) = deployment.applications
    config = ServeConfig.parse(application.args)
    assert deployment.http_options.request_timeout_s > config.deadline_s  # ours tells the cause
    environment = load("kuberay/serve.yaml")["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"][
        "containers"
    ][0]["env"]
    assert {"name": "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "value": FRONT} in environment
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(
    ("name", "key"),
    [("kuberay/selfplay-job.yaml", "rayClusterSpec"), ("kuberay/serve.yaml", "rayClusterConfig")],
)
def test_pods_have_a_name_an_image_limits_and_no_root(name, key):
    import ray

    spec = load(name)["spec"][key]
    assert spec["rayVersion"] == ray.__version__
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    claims = {
        document["metadata"]["name"]
        for document in yaml.safe_load_all((INFRA / "kuberay/storage.yaml").read_text(encoding="utf-8"))
    }
    for group in groups:
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["image"] == "leeroo-orchestrator:gpu"
        assert container["resources"]["limits"].keys() == container["resources"]["requests"].keys()
        assert {mount["name"] for mount in container["volumeMounts"]} == {
            volume["name"] for volume in pod["volumes"]
        }
        assert container["envFrom"][0]["secretRef"]["name"] in claims
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] in claims
    assert [
        ("nvidia.com/gpu" in group["template"]["spec"]["containers"][0]["resources"]["limits"])
        for group in groups
    ] == [
        False,
        True,
    ]


@pytest.mark.parametrize("mode", ["cpu", "gpu"])
def test_dockerfile_copies_what_is_there_and_sets_up_its_own_mode(mode):
    text = (INFRA / f"Dockerfile.{mode}").read_text(encoding="utf-8")
    assert f"setup_env.py --mode {mode}" in text
    assert "USER leeroo" in text
    for line in re.findall(r"^COPY --chown=leeroo (.+)$", text, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    assert (INFRA / f"Dockerfile.{mode}.dockerignore").exists()


def test_mlflow_server_knows_the_flags_and_hosts_of_the_compose_file():
    import mlflow.cli
    from mlflow.server.security_utils import is_allowed_host_header

    services = load("mlflow/compose.yaml")["services"]
    binary, subcommand, *flags = services["mlflow"]["command"]
    assert (binary, subcommand) == ("mlflow", "server")
    command = mlflow.cli.cli.commands["server"]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {flag.split("=")[0] for flag in flags} <= known
    assert "MLFLOW_BACKEND_STORE_URI" in {parameter.envvar for parameter in command.params}
    hosts = (
        next(flag for flag in flags if flag.startswith("--allowed-hosts"))
        .split(":-")[1]
        .rstrip("}")
        .split(",")
    )
    assert is_allowed_host_header(hosts, "mlflow:5000")
    assert not is_allowed_host_header(hosts, "evil.example:5000")
    assert all(
        port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", [])
    )


def test_mlflow_image_has_the_projects_version():
    import mlflow

    assert f"mlflow=={mlflow.__version__} " in (INFRA / "mlflow" / "Dockerfile").read_text(encoding="utf-8")
