"""Reference of the Python API: what the packages export, described by their docstrings."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "orchestrator": "Who answers this query: training, decisions, evaluation, versions.",
    "universe": "Which experts to keep: programs, frontier, gaps.",
    "experts": "What an expert is and how it answers: catalogue, prices, backends, grading.",
    "warehouse": "What happened, kept for good: tables, outcomes, errors.",
}


def render_python() -> str:
    """Return the page, for mkdocstrings to fill in."""
    parts = [
        "# Python API\n",
        "What the packages export. [Examples](../examples.md) show it at work.\n",
    ]
    for package, told in PACKAGES.items():
        parts.append(f"\n## {package}\n\n{told}\n")
        parts += [f"\n::: {where}.{name}\n" for name, where in sorted(exports(package).items())
                  if name[0].islower() or not name.isupper()]  # fmt: skip
    return "\n".join(parts)


def exports(package: str) -> dict[str, str]:
    """Return what a package exports: name -> module where it is defined."""
    stub = ROOT / package / "__init__.pyi"
    path = stub if stub.is_file() else stub.with_suffix(".py")
    return {
        alias.name: node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package
        for alias in node.names
    }
