import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from experts import Hardware, load_catalogue, probe_hardware
from experts.backends.hardware import Gpu
from pipelines import diagnosis as doctor
from pipelines.cli import app
from pipelines.commands.doctor import print_diagnosis

LAPTOP = Hardware(cpu_count=4, memory_gib=16.0, cpu_flags=frozenset({"avx2", "sse"}), gpus=())
EXAMPLES = Path(__file__).parents[2] / "experts" / "examples"


@pytest.fixture
def healthy(tmp_path):
    diagnosis = doctor.diagnose(load_catalogue(), probe_hardware(), home=tmp_path, cache=tmp_path)
    return dataclasses.replace(diagnosis, disks=(doctor.Disk("state", tmp_path, 100.0),))


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)])


def test_default_catalogue_runs_here(tmp_path):
    result = run("--home", tmp_path)
    assert result.exit_code == 0, result.output
    assert "smollm2-135m" in result.output
    assert "gemma-3-270m" in result.output


def test_json_says_the_same(tmp_path):
    result = run("--home", tmp_path, "--json")
    report = json.loads(result.output)
    assert report["healthy"] is True
    assert report["hardware"]["cpu_dtype"] in ("float32", "bfloat16")
    assert all(expert["runs"] for expert in report["experts"])
    assert {component["name"]: component["version"] for component in report["components"]}["Ray"]
    assert report["disks"][0]["free_gib"] > 0
    assert not list(tmp_path.iterdir())  # looking changes nothing


def test_an_expert_that_needs_gpus_is_named_with_a_remedy(tmp_path):
    diagnosis = doctor.diagnose(
        load_catalogue(EXAMPLES / "gpu-node.yaml"), LAPTOP, home=tmp_path / "not" / "yet", cache=tmp_path
    )
    assert not diagnosis.healthy
    names = {who for who, _, _ in diagnosis.problems}
    assert names >= {
        spec.name for spec in load_catalogue(EXAMPLES / "gpu-node.yaml").experts if spec.resources.num_gpus
    }
    console = Console(record=True, width=200)
    print_diagnosis(diagnosis, console)
    text = console.export_text()
    for _, what, fix in diagnosis.problems:
        assert what in text
        assert fix in text


def test_an_adapter_that_is_not_there_is_a_problem(tmp_path):
    spec = load_catalogue().experts[0].model_copy(update={"lora": str(tmp_path / "made-up")})
    ((what, fix),) = doctor.find_problems(spec, probe_hardware())
    assert "made-up is not there" in what
    assert fix
    assert doctor.find_problems(load_catalogue().experts[0], probe_hardware()) == ()


def test_exit_code_tells_that_a_catalogue_cannot_run(monkeypatch, tmp_path):
    monkeypatch.setattr("experts.probe_hardware", lambda: LAPTOP)
    result = run("--home", tmp_path, "--catalogue", EXAMPLES / "gpu-node.yaml", "--json")
    assert result.exit_code == 1
    assert json.loads(result.output)["healthy"] is False


def test_a_missing_required_part_is_a_problem_and_a_missing_optional_one_is_not(monkeypatch, healthy):
    monkeypatch.setattr(doctor, "COMPONENTS", (("Nothing", ("no-such-distribution",), True),))
    broken = dataclasses.replace(healthy, components=doctor.find_components())
    assert broken.problems == (("Nothing", "is not installed", "run `make setup`"),)
    monkeypatch.setattr(doctor, "COMPONENTS", (("Nothing", ("no-such-distribution",), False),))
    assert dataclasses.replace(healthy, components=doctor.find_components()).healthy


def test_a_full_disk_is_a_problem(healthy, tmp_path):
    full = dataclasses.replace(healthy, disks=(doctor.Disk("converted models", tmp_path, 0.5),))
    ((who, what, _),) = full.problems
    assert who == str(tmp_path)
    assert "0.5 GiB" in what


def test_gpus_are_shown(healthy):
    hardware = dataclasses.replace(LAPTOP, gpus=(Gpu("NVIDIA L4", 22.5), Gpu("NVIDIA L4", 22.5)))
    diagnosis = dataclasses.replace(healthy, hardware=hardware)
    console = Console(record=True, width=120)
    print_diagnosis(diagnosis, console)
    assert console.export_text().count("NVIDIA L4, 22 GiB") == 2
    assert len(diagnosis.to_json()["hardware"]["gpus"]) == 2


def test_an_embedder_without_its_weights_is_named_before_anything_is_served(tmp_path, monkeypatch):
    from orchestrator.text import weights

    class Empty:
        submodule_search_locations = (str(tmp_path / "emptied"),)

    found = weights.importlib.util.find_spec
    monkeypatch.setattr(
        weights.importlib.util, "find_spec", lambda name: Empty if name == "wordllama" else found(name)
    )
    report = json.loads(run("--home", tmp_path / "home", "--json").output)
    assert not report["healthy"]
    (problem,) = [p for p in report["problems"] if p["who"].startswith("embedder")]
    assert problem["who"] == "embedder wordllama"
    assert str(tmp_path / "emptied") in problem["what"]
    assert "pip install" in problem["fix"]
