"""How often checking an answer against a schema may look at one value, found before anything is checked.

Alternatives that refer to alternatives multiply (``allOf: [{$ref: a}, {$ref: a}]``, thirty levels of it, is a
thousand million looks at one number), and so do those that lead to themselves a level deeper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

#: Keywords whose schemas look at the same value, by what holds the schemas.
_SAME_LISTS = ("allOf", "anyOf", "oneOf")
_SAME = ("not", "if", "then", "else")
_SAME_MAPS = ("dependentSchemas", "dependencies")
#: Keywords whose schemas look at values one level deeper.
_OF_ANY_NAME = ("additionalProperties", "unevaluatedProperties")
_OF_ITEMS = ("items", "additionalItems", "contains", "unevaluatedItems")
_LOOKS_TWICE = ("unevaluatedProperties", "unevaluatedItems")  # at what the schemas beside it have seen
_NAMES = ("$id", "id")
_REFERS = ("$recursiveRef", "$dynamicRef")
#: A schema without any of these, nor a name, looks at one value once.
_LEADS_ON = frozenset(
    (*_SAME_LISTS, *_SAME, *_SAME_MAPS, *_OF_ANY_NAME, *_OF_ITEMS, *_REFERS, *_NAMES, "$ref", "properties")
) | {"patternProperties", "propertyNames", "prefixItems"}
_MOST_NODES = 3_000
_ITEM, _ANY = ("item",), ("any",)  # labels that no name of a property equals
_MOST_STEPS = 50_000

Label = str | tuple[str, ...]


def most_visits(schema: Any, deepest: int, enough: int) -> int | None:
    """Return a bound on the looks at one value; None for a reference that is no path within the schema.

    Args:
        schema: valid JSON Schema.
        deepest: levels of the values to be checked.
        enough: what is more than this need not be known exactly; nor need a schema that takes long to look
            through.
    """
    try:
        nodes = _Nodes(schema)
        return _bound(nodes, deepest, enough)
    except LookupError:
        return None
    except (RecursionError, _TooManyError):
        return enough + 1


class _TooManyError(Exception):
    pass


class _Nodes:
    """The schemas within a schema, by number: which look at the same value, and which at the ones in it."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._number: dict[int, int] = {}
        self.same: list[Counter[int]] = [Counter()]  # the first stands for all that lead nowhere
        self.deeper: list[dict[Label, list[int]]] = [{}]
        self.root = self._add(root)

    def _add(self, schema: Any) -> int:
        if not isinstance(schema, dict) or not schema.keys() & _LEADS_ON:
            return 0
        if (found := self._number.get(id(schema))) is not None:
            return found
        if self._number and any(isinstance(schema.get(name), str) for name in _NAMES):
            raise LookupError  # from here on a path would begin here
        number = len(self.same)
        self.same.append(Counter())
        self.deeper.append({})
        if number > _MOST_NODES:
            raise _TooManyError
        self._number[id(schema)] = number
        weight = 2 if any(name in schema for name in _LOOKS_TWICE) else 1
        for one in self._same_of(schema):
            self.same[number][self._add(one)] += weight
        for label, one in _deeper_of(schema):
            self.deeper[number].setdefault(label, []).append(self._add(one))
        return number

    def _same_of(self, schema: dict[str, Any]) -> Iterator[Any]:
        for name in _SAME_LISTS:
            yield from _list(schema.get(name))
        yield from (schema[name] for name in _SAME if name in schema)
        for name in _SAME_MAPS:
            yield from (one for one in _map(schema.get(name)).values() if not isinstance(one, list))
        if any(name in schema for name in _REFERS):
            raise LookupError
        if isinstance(reference := schema.get("$ref"), str):
            yield self._resolve(reference)

    def _resolve(self, reference: str) -> Any:
        from urllib.parse import unquote

        if reference != "#" and not reference.startswith("#/"):
            raise LookupError(reference)
        at = self._root
        for part in unquote(reference[2:]).split("/") if reference != "#" else ():
            name = part.replace("~1", "/").replace("~0", "~")
            at = at[int(name)] if isinstance(at, list) and name.isdecimal() else _map(at)[name]
        return at


def _deeper_of(schema: dict[str, Any]) -> Iterator[tuple[Label, Any]]:
    yield from _map(schema.get("properties")).items()
    yield from ((_ANY, one) for one in _map(schema.get("patternProperties")).values())
    yield from ((_ANY, schema[name]) for name in _OF_ANY_NAME if name in schema)
    if "propertyNames" in schema:
        yield _ANY, schema["propertyNames"]
    yield from ((("item", str(place)), one) for place, one in enumerate(_list(schema.get("prefixItems"))))
    for name in _OF_ITEMS:
        items = schema.get(name)
        if isinstance(items, list):  # of older drafts: one schema a place
            yield from ((("item", str(place)), one) for place, one in enumerate(items))
        elif name in schema:
            yield _ITEM, items


def _bound(nodes: _Nodes, deepest: int, enough: int) -> int:
    """Look one level deeper at a time, until nothing is added."""
    meter = _Meter(enough)
    branching = [number for number, same in enumerate(nodes.same) if same or nodes.deeper[number]]
    closures = {number: _closure(nodes, number, meter) for number in branching}
    most = [1] * len(nodes.same)
    own = {number: sum(closure.values()) for number, closure in closures.items()}
    for _ in range(deepest):
        before = list(most)
        for number, closure in closures.items():
            most[number] = max(own[number], _starts(nodes, closure, before, meter))
        if most == before:
            break
    return most[nodes.root]


def _closure(nodes: _Nodes, number: int, meter: _Meter) -> Counter[int]:
    """Return the schemas that look at the same value as one does, itself included, and how often."""
    found, waiting = Counter[int](), [(number, 1)]
    while waiting:
        at, times = waiting.pop()
        meter.count(times, sum(found.values()))
        found[at] += times
        waiting += [(one, times * many) for one, many in nodes.same[at].items()]
    return found


def _starts(nodes: _Nodes, closure: Counter[int], most: list[int], meter: _Meter) -> int:
    """Return the looks at one value a level deeper: of a property's name or place, and what takes any."""
    looks = Counter[Label]()
    for at, times in closure.items():
        for label, ones in nodes.deeper[at].items():
            meter.count(len(ones))
            looks[label] += times * sum(most[one] for one in ones)
    of_names = max((many for label, many in looks.items() if isinstance(label, str)), default=0)
    of_places = max(
        (many for label, many in looks.items() if label[:1] == _ITEM and len(label) == 2), default=0
    )
    found = max(of_names + looks[_ANY], of_places + looks[_ITEM])
    meter.count(0, found)
    return found


class _Meter:
    """Ends what grows past what is wanted, or takes too long."""

    def __init__(self, enough: int) -> None:
        self._enough, self._steps = enough, 0

    def count(self, steps: int, found: int = 0) -> None:
        self._steps += steps
        if found > self._enough or self._steps > _MOST_STEPS:
            raise _TooManyError


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
