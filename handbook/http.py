"""Reference of the HTTP API, from the endpoint's own OpenAPI description."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from handbook.table import code, table


def render_http() -> str:
    """Return the page: every path with its fields, and the objects that they have."""
    described = describe_api()
    parts = [
        "# HTTP API\n",
        f"{described['info']['description']} A running endpoint gives this description at `/openapi.json`;"
        " [The endpoint](../endpoint.md) says what happens when something fails. Requests may have further"
        " fields of OpenAI's; they are passed on to the expert.\n",
    ]
    rows = [
        (code(method.upper()), f"[`{path}`](#{_anchor(method, path)})", first_line(operation))
        for method, path, operation in _operations(described)
    ]
    parts.append(table(("method", "path", "what it does"), rows))
    parts += [_render_operation(*one) for one in _operations(described)]
    parts.append("\n## Objects\n")
    for name, schema in described["components"]["schemas"].items():
        if schema.get("properties"):
            parts.append(_render_schema(name, schema))
    return "\n".join(parts)


def describe_api() -> dict[str, Any]:
    """Return the OpenAPI description of an endpoint that nobody runs."""
    from serve.config import ServeConfig
    from serve.http.api import create_api

    gateway = MagicMock()  # the description asks nothing of what lies behind it
    gateway.config = ServeConfig(home=Path(".leeroo"))
    described: dict[str, Any] = create_api(gateway).openapi()
    return described


def _operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]


def first_line(operation: dict[str, Any]) -> str:
    """Return what an operation does, in a line."""
    return str(operation.get("description", operation.get("summary", ""))).split("\n\n")[0].replace("``", "`")


def _render_operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"\n## {method.upper()} {path} {{ #{_anchor(method, path)} }}\n"]
    parts.append(str(operation.get("description", "")).replace("``", "`") + "\n")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        parts.append(f"Body: {_kind(body)}.\n")
    if parameters := operation.get("parameters"):
        parts.append(table(("parameter", "where", "type"), [
            (code(one["name"]), one["in"], _kind(one["schema"])) for one in parameters
        ]))  # fmt: skip
    replies = []
    for status, reply in operation["responses"].items():
        kinds = [_kind(content.get("schema", {})) or code(media)
                 for media, content in reply.get("content", {}).items()]  # fmt: skip
        replies.append((status, reply.get("description", ""), ", ".join(kinds)))
    parts.append(table(("status", "meaning", "body"), replies))
    return "\n".join(parts)


def _render_schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        (code(field), _kind(one), "yes" if field in required else "", str(one.get("description", "")))
        for field, one in schema["properties"].items()
    ]
    told = str(schema.get("description", "")).split("\n\n")[0].replace("``", "`")
    return f"\n### {name}\n\n{told}\n\n" + table(("field", "type", "required", "what it is"), rows)


def _kind(schema: dict[str, Any]) -> str:
    if reference := schema.get("$ref"):
        name = reference.rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if several := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_kind(one) for one in several if one.get("type") != "null"))
    if "enum" in schema or "const" in schema:
        return ", ".join(code(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {})) or 'anything'}"
    return str(schema.get("type", ""))


def _anchor(method: str, path: str) -> str:
    return "-".join([method, *(word.strip("{}").split(":")[0] for word in path.split("/") if word)])
