"""The house stays in order: who may import whom, no circles, no crowded rooms, and `leeroo --help` loads
nothing heavy.

The rules read `tests/rooms.py`. What breaks one today is listed there in ``KNOWN``; that list only shrinks.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.import_graph import Graph, between, find_circles, imported_names, module_name, read_graph
from tests.rooms import ASKS_BACKEND, CROWDED, FOLDERS, KNOWN, MOST_FILES, MOST_LINES, PRINTS, ROOMS

ROOT = Path(__file__).parent.parent
TABLE = "tests/rooms.py"
HEAVY = {
    *("ray", "vllm", "torch", "transformers", "mlflow", "ortools", "matplotlib", "sklearn", "onnxruntime"),
    *("pandas", "duckdb", "litellm"),
}
NOT_PACKAGED = {"bench", "handbook", "tests"}  # tools of the repository, which no package imports
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def graph() -> Graph:
    return read_graph(ROOT, FOLDERS)


def room_of(module: str) -> str:
    """The room that a module lies in; ``?`` and its folder where the table has none."""
    path = module.replace(".", "/")
    room = max((room for room in ROOMS if path == room or path.startswith(f"{room}/")), key=len, default="?")
    beneath = path.removeprefix(f"{room}/").count("/") or (ROOT / path).is_dir()
    return f"?{path}" if "/" not in room and path != room and beneath else room


def rooms() -> dict[str, str]:
    return {module: room_of(module) for module in graph()}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def files_with(pattern: str, paths: list[Path]) -> set[str]:
    return {str(p.relative_to(ROOT)) for p in paths if re.search(pattern, text_of(p))}


def files_in_circles() -> set[str]:
    return {module for circle in find_circles(graph()) for module in circle}


def rooms_in_circles() -> set[str]:
    return {room for circle in find_circles(between(graph(), rooms())) for room in circle}


def imports_through_walls() -> set[str]:
    return {
        f"{room_of(module)} -> {target}"
        for module, targets in graph().items()
        if module not in FOLDERS  # a folder's own `__init__` shows what its rooms hold
        for target in targets
        if not may_import(room_of(module), target)
    }


def may_import(room: str, target: str) -> bool:
    if room.split("/")[0] != target.split(".")[0]:
        return True  # another folder: `test_imports_between_folders_go_upward_only` judges it
    doors = ROOMS.get(room, set()) | {room}
    return room_of(target) in doors or target.replace(".", "/") in doors


def files_that_ask_backend() -> set[str]:
    return files_with(r"\.backend\s*(==|!=|in)\s", SOURCES) - {ASKS_BACKEND}


def steps_that_print() -> set[str]:
    steps = [p for p in SOURCES if p.parts[len(ROOT.parts)] == "pipelines" and "commands" not in p.parts]
    return files_with(r"\b(console\.print|print)\(", steps) - PRINTS


RULES = {
    "file in a circle": files_in_circles,
    "room in a circle": rooms_in_circles,
    "import through a wall": imports_through_walls,
    "long file": lambda: {
        str(p.relative_to(ROOT)) for p in SOURCES if len(text_of(p).splitlines()) > MOST_LINES
    },
    "crowded room": lambda: {
        folder
        for folder in {str(p.parent.relative_to(ROOT)) for p in SOURCES} - CROWDED
        if len(list((ROOT / folder).glob("*.py"))) > MOST_FILES
    },
    "file that asks .backend": files_that_ask_backend,
    "file with a Laboratory": lambda: files_with(r"\bLaboratory\b", SOURCES),
    "step that prints": steps_that_print,
}


def line_of(entry: str) -> str:
    numbers = [n for n, line in enumerate(text_of(ROOT / TABLE).splitlines(), 1) if f'"{entry}"' in line]
    return f"{TABLE}:{numbers[-1]}" if numbers else TABLE


@pytest.mark.parametrize("rule", RULES)
def test_the_house_is_in_order(rule):
    found, known = RULES[rule](), KNOWN.get(rule, set())
    new = [f"a new {rule}: {entry}" for entry in sorted(found - known)]
    mended = [f"delete {line_of(entry)}: {entry!r} is mended" for entry in sorted(known - found)]
    assert not new, "\n".join(new)
    assert not mended, "\n".join(["Well done. Now", *mended])


def test_every_exception_is_one_of_a_rule():
    assert set(KNOWN) <= set(RULES)


def test_every_room_is_in_the_table():
    assert not {room for room in rooms().values() if room.startswith("?")}
    assert not {room for room in ROOMS if not list((ROOT / room).glob("*.py"))}, "a row for no room"


def test_every_folder_has_a_rule():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - NOT_PACKAGED == set(FOLDERS)


def test_imports_between_folders_go_upward_only():
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in SOURCES
        for name in imported_names(path, ROOT)
        if name.split(".")[0] in {*FOLDERS, *NOT_PACKAGED} - FOLDERS[folder_of(path)] - {folder_of(path)}
    }
    assert not wrong, "\n".join(sorted(wrong))


def folder_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def test_circles_are_found_also_where_an_import_is_lazy_relative_or_for_types(tmp_path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    for name, content in {
        "a/__init__.py": "",
        "a/deep/__init__.py": "",
        "a/deep/one.py": "def f():\n    from a.deep import two\n",
        "a/deep/two.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..three import T\n",
        "a/three.py": "import a.deep.one as one\n",
        "a/four.py": "from a.deep.one import f\n",
    }.items():
        (tmp_path / name).write_text(content)
    found = read_graph(tmp_path, ["a"])
    assert find_circles(found) == [["a.deep.one", "a.deep.two", "a.three"]]
    assert found["a.four"] == {"a.deep.one"}
    assert module_name(tmp_path / "a" / "deep" / "__init__.py", tmp_path) == "a.deep"
    assert find_circles(between(found, {name: name.rpartition(".")[0] for name in found})) == [
        ["a", "a.deep"]
    ]


def run_python(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def heavy_in(listed: str) -> set[str]:
    return {name.split(".")[0] for name in listed.split()} & HEAVY


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
            first, _, loaded = run_python(code).partition(" ")
            taken.append(float(first))
            assert not heavy_in(loaded)
    assert min(seconds[program]) < 4 * min(seconds[needed]), seconds


def light_imports() -> Iterator[tuple[str, str]]:
    commands = [module_name(p, ROOT) for p in SOURCES if "commands" in p.parts]
    yield "all commands", "; ".join(f"import {name}" for name in commands)
    yield "orchestrator", "from orchestrator import *"


@pytest.mark.parametrize(("what", "statement"), light_imports(), ids=lambda value: value[:24])
def test_what_is_loaded_before_a_command_runs_is_light(what, statement):
    assert not heavy_in(run_python(f"import sys; {statement}; print(*sys.modules)")), what


# Words of a machine or of a way of working, which have no place in a public tree.
LEAKS = re.compile(r"/(?:work|tmp|home|root)/[a-z]|files\.pythonhosted|pypi\.org")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_path_of_one_machine_is_written_down(path):
    for number, line in enumerate(text_of(path).splitlines(), 1):
        assert not LEAKS.search(line), f"{path.name}:{number}: {line.strip()}"


def test_the_contracts_say_where_each_name_is_imported_from():
    described = text_of(ROOT / "docs" / "architecture.md")
    rows = re.findall(r"^\| `(\w+(?:\.\w+)+)` \| (.+) \|$", described, re.MULTILINE)
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


def test_type_checkers_are_told_what_the_package_finds_when_it_is_used():
    package = importlib.import_module("orchestrator")
    told = re.findall(r"(\w+) as \1\b", text_of(ROOT / "orchestrator" / "__init__.pyi"))
    assert sorted(told) == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name).__name__ == name


def test_the_page_on_architecture_shows_the_same_rooms_and_doors():
    page = text_of(ROOT / "docs" / "architecture.md")
    shown = dict(re.findall(r"^\| `([\w/]+)` \| [^|]+ \| ([^|]*) \|$", page, re.MULTILINE))
    for room, doors in ROOMS.items():
        listed = ", ".join(f"`{door}`" for door in sorted(doors))
        assert room in shown, f"docs/architecture.md lacks a row `{room}`"
        assert shown[room].strip() == listed, f"docs/architecture.md: the doors of `{room}` are {listed}"
    extra = {room for room in shown if room.split("/")[0] in FOLDERS} - set(ROOMS)
    assert not extra, f"docs/architecture.md has rows for no room: {extra}"


@pytest.mark.parametrize("folder", ["universe", "orchestrator"])
def test_every_door_of_universe_and_orchestrator_is_used(folder):
    used = {
        (room_of(module), door)
        for module, targets in graph().items()
        for target in targets
        for door in (room_of(target), target.replace(".", "/"))
    }
    doors = {(room, door) for room in ROOMS if room.split("/")[0] == folder for door in ROOMS[room]}
    assert not doors - used, f"close these doors in {TABLE}"
