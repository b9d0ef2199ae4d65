"""Which experts to keep: integer programs over the outcomes, the frontier, and the gaps that remain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from universe.expected import Expected, cross_fit
from universe.limits import Hosting, Limits, NodeType

if TYPE_CHECKING:  # the solver is loaded when first used, so that importing the package stays instant
    from universe.select import Universe, select_universe

_LAZY = {
    "Universe": "universe.select",
    "select_universe": "universe.select",
}

__all__ = ["Expected", "Hosting", "Limits", "NodeType", "Universe", "cross_fit", "select_universe"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'universe' has no attribute {name!r}")
