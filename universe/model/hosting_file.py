"""The hosting file: what each expert takes to host, and which nodes there are. YAML, checked field by field.

experts:
  gemma-7b: {usd_per_hour: 1.2, gpus: 1, gpu_memory_gib: 20, node_type: l4, queries_per_s: 8}
nodes:
  l4: {count: 2, gpus: 4, gpu_memory_gib: 96}  # two nodes of four GPUs each
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from universe.model.limits import Hosting, NodeType
from universe.model.packing import most_on_one_node
from warehouse import InputError

Made = TypeVar("Made", Hosting, NodeType)


@dataclass(frozen=True)
class HostingFile:
    """Hosting by expert and nodes by type."""

    experts: dict[str, Hosting] = field(default_factory=dict)
    nodes: dict[str, NodeType] = field(default_factory=dict)


def read_hosting(path: Path) -> HostingFile:
    """Read a hosting file.

    Raises:
        InputError: the file is missing, not YAML, or a field is unknown or impossible; the message names it.
    """
    if not path.exists():
        raise InputError("there is no such file", where=str(path))
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise InputError(f"not valid YAML: {error}", where=str(path)) from error
    if not isinstance(document, dict) or set(document) - {"experts", "nodes"}:
        raise InputError("needs the sections `experts` and `nodes`, and no others", where=str(path))
    read = HostingFile(
        {n: _make(Hosting, e, f"{path}, expert {n!r}") for n, e in _section(document, "experts", path)},
        {n: _make(NodeType, e, f"{path}, node type {n!r}") for n, e in _section(document, "nodes", path)},
    )
    for name, hosting in read.experts.items():
        node = read.nodes.get(hosting.node_type)
        if node is None and read.nodes and hosting.gpus:
            raise InputError(
                f"there is no node type {hosting.node_type!r}",
                where=f"{path}, expert {name!r}, field node_type",
                fix=f"use one of: {', '.join(read.nodes)}",
            )
        if node and most_on_one_node(hosting, node) < 1:
            raise InputError(
                f"one replica does not fit on a node of type {hosting.node_type!r}",
                where=f"{path}, expert {name!r}",
                fix="give it a larger node type, or leave it out",
            )
    return read


def _section(document: dict[str, Any], name: str, path: Path) -> list[tuple[str, Any]]:
    section = document.get(name) or {}
    if not isinstance(section, dict):
        raise InputError("must map names to fields", where=f"{path}, section {name}")
    return [(str(key), entry) for key, entry in section.items()]


def _make(kind: type[Made], entry: Any, where: str) -> Made:
    known = {f.name: f for f in fields(kind)}
    if not isinstance(entry, dict):
        raise InputError("must be a mapping of fields", where=where)
    for name, value in entry.items():
        if name not in known:
            raise InputError(f"has no field {name!r}", where=where, fix=f"use one of: {', '.join(known)}")
        wanted: Any = str if name == "node_type" else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise InputError(f"must be a {'name' if wanted is str else 'number'}, not {value!r}",
                             where=f"{where}, field {name}")  # fmt: skip
    try:
        return kind(**entry)
    except InputError as error:
        raise InputError(error.what, where=f"{where}, {error.where}", fix=error.fix) from error
