"""The highest possible cost of a request, at each expert that may answer it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from experts import ExpertSpec
from experts.upstream import Ask, ask_of, measure
from experts.upstream.request import Extent


def asks_of(
    specs: Iterable[ExpertSpec], body: dict[str, Any], extent: Extent | None = None
) -> dict[str, Ask]:
    """Return a request as each expert would be asked, by its name: with the most that it can come to.

    ``extent`` is that of the body, where it is known.
    """
    extent = extent or measure(body)
    return {spec.name: ask_of(spec, body, extent) for spec in specs}
