"""Imports between the folders go upward only, and `leeroo --help` loads nothing heavy."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What a folder may import besides itself; see docs/architecture.md.
ALLOWED = {
    "warehouse": set(),
    "experts": {"warehouse"},
    "universe": {"warehouse", "experts"},
    "orchestrator": {"warehouse", "experts"},
    "serve": {"warehouse", "experts", "universe", "orchestrator"},
    "pipelines": {"warehouse", "experts", "universe", "orchestrator", "serve"},
    "infra": set(),
}
HEAVY = {
    *("ray", "vllm", "torch", "transformers", "mlflow", "ortools", "matplotlib", "sklearn", "onnxruntime"),
    *("pandas", "duckdb"),
}
SOURCES = [path for folder in ALLOWED for path in sorted((ROOT / folder).rglob("*.py"))]


def imported_modules(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, inside functions too."""
    package = path.relative_to(ROOT).parts[:-1]
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            modules.add(".".join([*base, *([node.module] if node.module else [])]))
    return modules


def test_every_folder_has_a_rule():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"tests", "bench"} == set(ALLOWED)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_upward_only(path):
    folder = path.relative_to(ROOT).parts[0]
    ours = {module.split(".")[0] for module in imported_modules(path)} & (set(ALLOWED) | {"bench", "tests"})
    assert ours <= ALLOWED[folder] | {folder}


def test_relative_imports_are_resolved(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "experts" / "deep" / "module.py"
    path.parent.mkdir(parents=True)
    path.write_text("from ...serve import app\nfrom . import near\nimport pipelines.cli as cli\n")
    assert imported_modules(path) == {"serve", "experts.deep", "pipelines.cli"}


def test_help_is_instant_and_loads_nothing_heavy():
    # CPU seconds beside those of the libraries that a command line needs at least, for a slow machine's sake;
    # the best of three, because other work on the machine, and compiling, cost CPU seconds too.
    needed = "import sys, time, typer, pyarrow.parquet\nprint(time.process_time(), *sys.modules)\n"
    program = (
        "import sys, time\n"
        "from typer.testing import CliRunner\n"
        "from pipelines.cli import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0 and 'selfplay' in result.output, result.output\n"
        "print(time.process_time(), *sys.modules)\n"
    )
    seconds: dict[str, list[float]] = {needed: [], program: []}
    for _ in range(3):
        for code, taken in seconds.items():
            output = subprocess.run(
                [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout.split()
            taken.append(float(output[0]))
            assert not {name.split(".")[0] for name in output[1:]} & HEAVY
    assert min(seconds[program]) < 4 * min(seconds[needed]), seconds


def test_everything_that_a_command_loads_before_it_runs_is_light():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SOURCES if "commands" in path.parts
    ]
    program = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\nprint(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert not {name.split(".")[0] for name in loaded.split()} & HEAVY


# Words of a machine or of a way of working, which have no place in a public tree.
LEAKS = re.compile(r"/(?:work|tmp|home|root)/[a-z]|files\.pythonhosted|pypi\.org")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_path_of_one_machine_is_written_down(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert not LEAKS.search(line), f"{path.name}:{number}: {line.strip()}"


def test_the_contracts_say_where_each_name_is_imported_from():
    described = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (.+) \|$", described, re.MULTILINE)
    listed = {(module, name) for module, names in rows for name in re.findall(r"`(\w+)`", names)}
    for module, name in listed:
        assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"
        assert name not in importlib.import_module(module.split(".")[0]).__all__
    for folder in ("warehouse", "experts", "orchestrator", "universe"):
        contract = described.split(f"\n### {folder}\n")[1].split("```")[1]
        exported = importlib.import_module(folder).__all__
        elsewhere = {name for module, name in listed if module.startswith(f"{folder}.")}
        called = re.findall(r"^(?:class )?(\w+)(?: / \w+)*\(", contract, re.MULTILINE)
        assert called
        assert set(called) <= {*exported, *elsewhere}
