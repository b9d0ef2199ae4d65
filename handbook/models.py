"""Reference of the catalogue, from its pydantic models."""

from __future__ import annotations

import inspect
import re
import types
import typing
from typing import Any, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from handbook.table import code, table


def render_catalogue() -> str:
    """Return the page: the fields of an expert, and what stands within them."""
    from experts.backends.registry import BACKENDS
    from experts.catalogue.bundled_models import BUNDLED_MODELS
    from experts.catalogue.dialect import PRESETS, Dialect
    from experts.catalogue.pricing import ContextTier, Price
    from experts.catalogue.spec import ExpertSpec, Resources

    parts = [
        "# Catalogue\n",
        "A catalogue is a YAML file with a list `experts:`. Unknown fields are refused, and the error names"
        " the line. [How to write one](../howto/your-models.md) has examples.\n",
        f"Backends: {', '.join(code(name) for name in BACKENDS)}. Bundled models:"
        f" {', '.join(code(name) for name in BUNDLED_MODELS)}.\n",
    ]
    for title, model in (
        ("An expert", ExpertSpec),
        ("price", Price),
        ("A tier of a price", ContextTier),
        ("resources", Resources),
        ("dialect", Dialect),
    ):
        parts += [f"\n## {title}\n", f"{inspect.getdoc(model)}\n", render_model(model)]
    parts.append(f"\nPresets of `dialect`: {', '.join(code(name) for name in PRESETS)}.\n")
    return "\n".join(parts)


def render_model(model: type[BaseModel]) -> str:
    """Return the table of a model's fields."""
    return table(("field", "type", "default", "what it is"), [
        (code(field.alias or name), code(kind_of(field)), default_of(field), field.description or "")
        for name, field in model.model_fields.items()
    ])  # fmt: skip


def kind_of(field: FieldInfo) -> str:
    """Return a field's type and bounds as a reader of YAML thinks of them."""
    bounds = [
        f"{sign} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if isinstance(getattr(bound, name, None), int | float)
    ]
    return ", ".join([name_of(field.annotation), *bounds])


def name_of(kind: Any) -> str:
    """Return a type's name: choices as they are, no `None` beside others."""
    arguments = [one for one in typing.get_args(kind) if one not in (type(None), ...)]
    origin = typing.get_origin(kind)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(map(name_of, arguments))
    if origin in (list, tuple, set, frozenset):
        return f"list of {name_of(arguments[0])}"
    if origin is dict:
        return f"mapping of {name_of(arguments[1])}"
    if origin is not None:
        return name_of(arguments[0])
    plain = {
        "str": "text",
        "float": "number",
        "int": "whole number",
        "bool": "true | false",
        "Any": "anything",
    }
    name = getattr(kind, "__name__", re.sub(r"\w+\.", "", str(kind)))
    return plain.get(name, name.lower())


def default_of(field: FieldInfo) -> str:
    """Return a field's default; "required" where there is none."""
    if field.is_required():
        return "required"
    value = field.default if field.default is not PydanticUndefined else None
    if value in (None, (), {}, []) and not isinstance(value, bool | int | float):
        return ""
    return code(str(value).lower() if isinstance(value, bool) else value)
