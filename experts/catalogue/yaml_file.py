"""A YAML file with the lines its values stand on, for errors that say where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from warehouse import InputError


class _Loader(yaml.SafeLoader):
    """Reads no dates: what looks like one is a revision, and so text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> tuple[yaml.Node | None, Any]:
    """Return a file as nodes, which know their lines, and as values.

    Raises:
        InputError: the file cannot be read or is not YAML; names the place.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.compose(text, Loader=_Loader), yaml.load(text, Loader=_Loader)
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), fix="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), fix="give a UTF-8 YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"not YAML: {problem}", where=where, fix="correct the syntax there") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not YAML: {error}", where=str(path), fix="correct the value") from None


def place(path: Path, node: yaml.Node) -> str:
    """Return "file, line N" of a node."""
    return f"{path}, line {node.start_mark.line + 1}"


def descend(node: yaml.Node, loc: tuple[int | str, ...]) -> yaml.Node:
    """Return the YAML node at a path of keys and indices, or the deepest one on the way there."""
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            found = next((value for key, value in node.value if key.value == str(step)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            found = node.value[step]
        else:
            found = None
        if found is None:
            return node
        node = found
    return node


def duplicate_keys(root: yaml.Node) -> Iterator[yaml.Node]:
    """Yield the keys that a mapping holds for the second time."""
    open_nodes, visited = [root], set[int]()  # by an alias, a node may hold itself
    while open_nodes:
        node = open_nodes.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    yield key
                seen.add(str(key.value))
            open_nodes += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            open_nodes += node.value
