"""The imports between our own modules, read from the source: lazy ones and those for types alone count."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

Graph = dict[str, set[str]]


def module_name(path: Path, root: Path) -> str:
    """The dotted name of a file; that of the package for ``__init__.py``."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported_names(path: Path, root: Path) -> set[str]:
    """Dotted names that a file imports, in functions too; ``from a import b`` counts as ``a`` and ``a.b``."""
    package = path.relative_to(root).parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def read_graph(root: Path, folders: Iterable[str]) -> Graph:
    """Which of our modules each of them imports; a submodule is counted, not the package it was found in."""
    paths = {module_name(p, root): p for folder in folders for p in sorted((root / folder).rglob("*.py"))}
    graph: Graph = {}
    for name, path in paths.items():
        ours = {target for target in imported_names(path, root) if target in paths and target != name}
        graph[name] = {t for t in ours if not any(other.startswith(f"{t}.") for other in ours)}
    return graph


def find_circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other: Tarjan's strongly connected components of more than one node."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            at = stack.index(node)
            component = stack[at:]
            del stack[at:]
            if len(component) > 1:
                found.append(sorted(component))

    sys.setrecursionlimit(max(sys.getrecursionlimit(), 5_000))
    for node in graph:
        if node not in index:
            visit(node)
    return found


def between(graph: Mapping[str, set[str]], rooms: Mapping[str, str]) -> Graph:
    """The graph with every module replaced by the room it is in."""
    out: Graph = {}
    for name, targets in graph.items():
        out.setdefault(rooms[name], set()).update(rooms[t] for t in targets if rooms[t] != rooms[name])
    return out
