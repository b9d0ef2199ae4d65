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


JOBS = {"kuberay/selfplay-job.yaml": "selfplay", "kuberay/learn-job.yaml": "learn"}


def options_of(command):
    import typer.main

    from pipelines.commands.selfplay import selfplay
    from pipelines.commands.traffic.learn import learn

    alone = typer.Typer()
    alone.command()({"selfplay": selfplay, "learn": learn}[command])
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
        *(load(job)["spec"]["rayClusterSpec"] for job in JOBS),
        load("kuberay/serve.yaml")["spec"]["rayClusterConfig"],
    ):
        assert spec["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize(("job", "command"), JOBS.items())
def test_a_job_runs_a_command_that_exists(job, command):
    from importlib.util import find_spec

    python, flag, module, *arguments = shlex.split(load(job)["spec"]["entrypoint"])
    assert (python, flag) == ("python", "-m")
    assert find_spec(module) is not None
    assert {argument for argument in arguments if argument.startswith("--")} <= options_of(command)


def test_jobs_differ_in_what_they_run_alone():
    bare = []
    for job in JOBS:
        content = load(job)
        del content["metadata"]["name"], content["spec"]["entrypoint"]
        bare.append(content)
    assert bare[0] == bare[1]


def test_the_service_fits_serves_schema_and_the_endpoints_settings():
    import importlib

    from ray.serve.schema import ServeDeploySchema

    from serve.config import ServeConfig
    from serve.http.proxy_errors import IMPORT_PATH as FRONT

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


CLUSTERS = [*((job, "rayClusterSpec") for job in JOBS), ("kuberay/serve.yaml", "rayClusterConfig")]


def load_claims():
    """The access modes of the volume claims of storage.yaml, by name."""
    documents = list(yaml.safe_load_all((INFRA / "kuberay/storage.yaml").read_text(encoding="utf-8")))
    assert {document["kind"] for document in documents} == {"PersistentVolumeClaim"}  # no secret
    return {document["metadata"]["name"]: document["spec"]["accessModes"] for document in documents}


def mounts_of(group):
    """What a group's pods mount, by path: a claim's name, a config map's, or None."""
    pod = group["template"]["spec"]
    sources = {
        volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName")
        or volume.get("configMap", {}).get("name")
        for volume in pod["volumes"]
    }
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == sources.keys()
    return {mount["mountPath"]: sources[mount["name"]] for mount in container["volumeMounts"]}


@pytest.mark.parametrize(("name", "key"), CLUSTERS)
def test_pods_have_a_name_an_image_limits_and_no_root(name, key):
    import ray

    spec = load(name)["spec"][key]
    assert spec["rayVersion"] == ray.__version__
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["image"] == "leeroo-orchestrator:gpu"
        assert container["resources"]["limits"].keys() == container["resources"]["requests"].keys()
        secret = container["envFrom"][0]["secretRef"]["name"]
        assert f"kubectl create secret generic {secret} " in README
    assert [
        ("nvidia.com/gpu" in group["template"]["spec"]["containers"][0]["resources"]["limits"])
        for group in groups
    ] == [
        False,
        True,
    ]


@pytest.mark.parametrize(("name", "key"), CLUSTERS)
def test_the_home_is_a_disk_of_one_node_that_only_heads_mount(name, key):
    spec = load(name)["spec"][key]
    claims = load_claims()
    head = spec["headGroupSpec"]
    assert claims[mounts_of(head)["/data/leeroo"]] == ["ReadWriteOnce"]
    selector = head["template"]["spec"]["nodeSelector"]
    assert [f"{label}={value}" in README for label, value in selector.items()] == [True]
    for group in spec["workerGroupSpecs"]:
        mounted = [source for source in mounts_of(group).values() if source]
        assert [claims[source] for source in mounted] == [["ReadWriteMany"]]


def test_the_bookkeeper_stays_with_the_ledger():
    from ray.serve._private.application_state import _get_shared_build_app_label_selector
    from ray.serve.schema import ServeDeploySchema

    from serve.app import LIGHT

    spec = load("kuberay/serve.yaml")["spec"]
    config = yaml.safe_load(spec["serveConfigV2"])
    (application,) = config["applications"]
    (bookkeeper,) = application["deployments"]
    assert bookkeeper["name"] == "bookkeeper"
    assert (
        bookkeeper["ray_actor_options"].pop("label_selector")
        == spec["rayClusterConfig"]["headGroupSpec"]["labels"]
    )
    assert bookkeeper["ray_actor_options"] == LIGHT["ray_actor_options"]  # which these replace
    (checked,) = ServeDeploySchema.model_validate(yaml.safe_load(spec["serveConfigV2"])).applications
    assert (
        _get_shared_build_app_label_selector(checked) == spec["rayClusterConfig"]["headGroupSpec"]["labels"]
    )


def test_both_clusters_name_a_catalogue_that_their_pods_can_run():
    from experts import load_catalogue

    arguments = shlex.split(load("kuberay/selfplay-job.yaml")["spec"]["entrypoint"])
    endpoint = yaml.safe_load(load("kuberay/serve.yaml")["spec"]["serveConfigV2"])["applications"][0]["args"]
    path = Path(arguments[arguments.index("--catalogue") + 1])
    assert endpoint["catalogue"] == str(path)
    ((name, key, example),) = re.findall(r"create configmap (\S+) --from-file=(\S+?)=(experts/\S+)", README)
    for file, cluster in CLUSTERS:
        spec = load(file)["spec"][cluster]
        assert path.name == key
        assert mounts_of(spec["headGroupSpec"])[str(path.parent)] == name
        limits = spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resources"]["limits"]
        for expert in load_catalogue(ROOT / example).experts:
            assert 0 < expert.resources.num_gpus <= int(limits["nvidia.com/gpu"])
            assert expert.resources.num_cpus <= int(limits["cpu"])
            assert expert.resources.accelerator_type is None


def test_the_mlflow_of_kubernetes_is_where_the_clusters_look_for_it():
    import mlflow.cli
    from mlflow.server.security_utils import is_allowed_host_header, is_health_endpoint

    text = (INFRA / "kuberay/mlflow.yaml").read_text(encoding="utf-8")
    claim, deployment, service = yaml.safe_load_all(text)
    address = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    arguments = shlex.split(load("kuberay/selfplay-job.yaml")["spec"]["entrypoint"])
    endpoint = yaml.safe_load(load("kuberay/serve.yaml")["spec"]["serveConfigV2"])["applications"][0]["args"]
    assert arguments[arguments.index("--mlflow") + 1] == endpoint["tracking_uri"] == f"http://{address}"
    pod = deployment["spec"]["template"]
    assert (
        service["spec"]["selector"]
        == pod["metadata"]["labels"]
        == deployment["spec"]["selector"]["matchLabels"]
    )
    (container,) = pod["spec"]["containers"]
    assert container["image"] == f"leeroo-mlflow:{mlflow.__version__}"
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    _, _, *flags = container["command"]
    command = mlflow.cli.cli.commands["server"]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {flag.split("=")[0] for flag in flags} <= known
    hosts = next(flag for flag in flags if flag.startswith("--allowed-hosts=")).partition("=")[2].split(",")
    assert is_allowed_host_header(hosts, address)
    assert not is_allowed_host_header(hosts, "evil.example:5000")
    assert is_health_endpoint(container["readinessProbe"]["httpGet"]["path"])  # asked by address, not by name


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
