"""Writes new prices into a catalogue's file, and leaves every other character of it as it was."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from experts.catalogue.pricing import Price
from experts.catalogue.yaml_file import descend, place, read_yaml
from experts.catalogue_file import Catalogue, load_catalogue
from experts.price_update import PriceChange
from warehouse import InputError

_Edit = tuple[int, int, str]  # from, to, and what stands there then


def write_prices(catalogue: Catalogue, changes: Sequence[PriceChange]) -> None:
    """Add the new prices to the catalogue's file: a price becomes a list by day, a list becomes longer.

    A price of the same day is replaced. The file is written whole or not at all, and only once it was read
    back and says what it should.

    Raises:
        InputError: a price is shared by several experts through an anchor, or the file changed meanwhile.
    """
    path = catalogue.path.resolve()
    with path.open(encoding="utf-8", newline="") as stream:
        text = stream.read()
    root, _ = read_yaml(path)
    if root is None or [spec.prices for spec in load_catalogue(path).experts] != [
        spec.prices for spec in catalogue.experts
    ]:
        raise InputError("the file changed meanwhile", where=str(path), fix="run the command again")
    if "\r" in text or text.startswith("\ufeff"):
        root = yaml.compose(text)  # its places are those of the text as it is
    assert root is not None
    edits, wanted = [], {spec.name: spec.prices for spec in catalogue.experts}
    for change in changes:
        index = catalogue.names.index(change.expert)
        was = wanted[change.expert]
        kept = was[:-1] if was[-1].since == change.becomes.since else was
        wanted[change.expert] = (*kept, change.becomes)
        node = descend(root, ("experts", index))
        assert isinstance(node, yaml.CollectionNode)  # the catalogue was read
        edits.append(_edit(path, text, node, change, is_replaced=len(kept) < len(was)))
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    _put(path, text, wanted)


def _put(path: Path, text: str, wanted: dict[str, tuple[Price, ...]]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=path.suffix)
    made = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        found = {spec.name: spec.prices for spec in load_catalogue(made).experts}
        if found != wanted:
            raise InputError("the new prices cannot be put there", where=str(path), fix="write them by hand")
        made.chmod(path.stat().st_mode & 0o777)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def _edit(
    path: Path, text: str, entry: yaml.CollectionNode, change: PriceChange, *, is_replaced: bool
) -> _Edit:
    """Return what is to be written where, for one expert."""
    pairs = [(key, value) for key, value in entry.value if key.value in ("price", "prices")]
    key, node = pairs[0] if pairs else (entry, entry)
    between = text[key.end_mark.index : node.start_mark.index] if pairs else "*"
    marks = re.sub(r"(^|\s)#.*", "", between)
    is_shared = node.start_mark.index < key.end_mark.index or "&" in marks or "*" in marks
    if is_shared or not isinstance(node, yaml.CollectionNode):
        raise InputError(
            f"the price of {change.expert!r} is shared through an anchor",
            where=place(path, entry),
            fix="write it out there",
        )
    end = _end(node)
    column = node.start_mark.column
    if isinstance(node, yaml.SequenceNode):
        last = node.value[-1]
        if is_replaced:
            return (*_span(last), _words(change.becomes, last))
        if node.flow_style:
            return _end(last), _end(last), f", {_flow(change.becomes)}"
        return _after_line(text, end, f"{' ' * column}- {_block(change.becomes, column + 2)}")
    if is_replaced:
        return (*_span(node), _words(change.becomes, node))
    old = text[node.start_mark.index : end]
    if entry.flow_style:
        return (*_span(node), f"[{old}, {_flow(change.becomes)}]")
    if node.flow_style:
        column = key.start_mark.column + 2
        rest = _line_end(text, end)
        start = node.start_mark.index - len(between) + len(between.rstrip(" \t"))
        first = f"\n{' ' * column}- {old}{text[end:rest]}"
        return start, rest, f"{first}\n{' ' * column}- {_block(change.becomes, column + 2)}"
    first = old.replace("\n", "\n  ")
    rest = _line_end(text, end)
    added = f"\n{' ' * column}- {_block(change.becomes, column + 2)}"
    return node.start_mark.index, rest, f"- {first}{text[end:rest]}{added}"


def _span(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.index, _end(node)


def _end(node: yaml.Node) -> int:
    """Return where a node's last character is; a block's own mark stands before what comes next."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, yaml.MappingNode) else last)


def _line_end(text: str, start: int) -> int:
    found = text.find("\n", start)
    end = len(text) if found < 0 else found
    return end - 1 if text[start:end].endswith("\r") else end


def _after_line(text: str, end: int, line: str) -> _Edit:
    place_ = _line_end(text, end)
    return place_, place_, f"\n{line}"


def _words(price: Price, like: yaml.Node) -> str:
    is_flow = isinstance(like, yaml.CollectionNode) and like.flow_style
    return _flow(price) if is_flow else _block(price, like.start_mark.column)


def _block(price: Price, column: int) -> str:
    """Return a price as lines; the first one stands at the column already."""
    fields = _fields(price)
    tiers = fields.pop("tiers", ())
    lines = [f"{name}: {_value(value)}" for name, value in fields.items()]
    lines += ["tiers:"] * bool(tiers) + [f"  - {_mapping(tier)}" for tier in tiers]
    return f"\n{' ' * column}".join(lines)


def _flow(price: Price) -> str:
    return _mapping(_fields(price))


def _mapping(fields: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {_value(value)}" for name, value in fields.items()) + "}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_mapping, value)) + "]"
    if isinstance(value, float):
        return str(int(value)) if value == int(value) else _decimals(value)
    return str(value)


def _decimals(value: float) -> str:
    """Return a number without an exponent: YAML takes 1e-05 for text."""
    return f"{value:.20f}".rstrip("0") if "e" in repr(value) else repr(value)


def _fields(price: Price) -> dict[str, Any]:
    fields = price.model_dump(mode="python", exclude_defaults=True)
    since = fields.pop("since", None)
    for tier in fields.get("tiers", ()):
        for name in [name for name, value in tier.items() if value is None]:
            del tier[name]
    tiers = fields.pop("tiers", None)
    found = ({"since": since} if since else {}) | fields
    return found | ({"tiers": tiers} if tiers else {})
