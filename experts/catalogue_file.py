"""The catalogue: which experts there are, where each runs and what it costs. One YAML file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from experts.backends.registry import BACKENDS, is_known
from experts.catalogue.capabilities import Capabilities
from experts.catalogue.cooldown import Cooldown
from experts.catalogue.dialect import Dialect
from experts.catalogue.hedge import Hedge
from experts.catalogue.pricing import ContextTier, Price
from experts.catalogue.retries import Retries
from experts.catalogue.spec import ExpertSpec, Resources
from experts.catalogue.yaml_file import descend, duplicate_keys, place, read_yaml
from warehouse import InputError

DEFAULT_CATALOGUE = Path(__file__).with_name("default.yaml")


@dataclass(frozen=True)
class Catalogue:
    """The experts of one file, in its order."""

    experts: tuple[ExpertSpec, ...]
    path: Path

    @property
    def names(self) -> tuple[str, ...]:
        """The experts' names."""
        return tuple(spec.name for spec in self.experts)

    def get(self, name: str) -> ExpertSpec:
        """Return the expert of that name; InputError with the nearest names when there is none."""
        for spec in self.experts:
            if spec.name == name:
                return spec
        raise InputError(f"no expert {name!r}", where=str(self.path), fix=_suggestion(name, self.names))


def load_catalogue(path: str | Path | None = None) -> Catalogue:
    """Read and check a catalogue; None gives the default one of small real models.

    Raises InputError naming the file, the line, the expert, the field and the fix.
    """
    path = Path(path) if path is not None else DEFAULT_CATALOGUE
    root, content = read_yaml(path)
    if root is None:
        raise InputError(
            "the file is empty", where=str(path), fix="list at least one expert under `experts:`"
        )
    for node in duplicate_keys(root):
        raise InputError(f"`{node.value}` is given twice", where=place(path, node), fix="keep one of the two")
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("experts"), list)
        or not content["experts"]
    ):
        raise InputError(
            "no experts found", where=place(path, root), fix="begin with `experts:` and list one at least"
        )
    if extra := [key for key in content if key != "experts"]:
        raise InputError(
            f"unknown top-level field {extra[0]!r}", where=place(path, root), fix="keep only `experts:`"
        )
    experts: list[ExpertSpec] = []
    seen: dict[str, int] = {}
    for index, entry in enumerate(content["experts"]):
        node = descend(root, ("experts", index))
        spec = _check_entry(path, node, entry, index)
        line = node.start_mark.line + 1
        if spec.name in seen:
            raise InputError(
                f"two experts are named {spec.name!r} (the other is at line {seen[spec.name]})",
                where=place(path, node),
                fix="rename one of them",
            )
        seen[spec.name] = line
        experts.append(spec)
    return Catalogue(tuple(experts), path)


def _check_entry(path: Path, node: yaml.Node, entry: object, index: int) -> ExpertSpec:
    label = repr(entry["name"]) if isinstance(entry, dict) and "name" in entry else f"number {index + 1}"
    if not isinstance(entry, dict):
        raise InputError(
            f"expert {label} is not a mapping",
            where=place(path, node),
            fix="give name, backend, model, price",
        )
    try:
        spec = ExpertSpec.model_validate(entry)
    except ValidationError as failure:
        error = failure.errors()[0]
        loc = tuple(error["loc"])
        if loc[:2] == ("price", 0) and not isinstance(entry["price"], list):
            loc = ("price", *loc[2:])  # one price is read as a list of one
        what, fix = _explain(error, loc)
        where = f"{place(path, descend(node, loc))}, expert {label}"
        if loc:
            where += f", field {'.'.join(map(str, loc))}"
        raise InputError(what, where=where, fix=fix) from None
    if is_known(spec):
        return spec
    where = f"{place(path, descend(node, ('backend',)))}, expert {label}, field backend"
    raise InputError(
        f"no backend {spec.backend!r}", where=where, fix=_suggestion(spec.backend, tuple(BACKENDS))
    )


def _explain(error: Any, loc: tuple[int | str, ...]) -> tuple[str, str]:
    """Return what is wrong and how to fix it, from one of pydantic's errors."""
    field = str(loc[-1]) if loc else ""
    nested: dict[str, type[BaseModel]] = {
        "price": Price,
        "resources": Resources,
        "dialect": Dialect,
        "capabilities": Capabilities,
        "retries": Retries,
        "cooldown": Cooldown,
        "hedge": Hedge,
    }
    fields = nested.get(str(loc[0]), ExpertSpec).model_fields if len(loc) > 1 else ExpertSpec.model_fields
    if "tiers" in loc[:-1]:
        fields = ContextTier.model_fields
    if error["type"] == "extra_forbidden":
        return f"unknown field {field!r}", _suggestion(field, tuple(fields))
    if error["type"] == "missing":
        example = {
            "price": "`price: {usd_per_mtok_in: 0.2, usd_per_mtok_out: 0.2}`",
            "backend": "`backend: vllm`, `openai` or `recorded`",
        }.get(field, f"`{field}: ...`")
        return f"{field} is missing", f"add {example}"
    described = fields.get(field)
    hint = f"{field} is {described.description}" if described else "correct the value"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        what, _, fix = message.partition("; ")  # our own validators say what is wrong, then the fix
        return what, fix or hint
    return f"{message[0].lower()}{message[1:]}, got {error['input']!r}", hint


def _suggestion(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"
