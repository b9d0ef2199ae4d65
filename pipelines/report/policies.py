"""The rows of an evaluation by what they are to a reader: ours, what it is compared with, the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
Evaluation = Mapping[str, Any]

#: Row -> (what the page calls it, its colour); what is not named here is another router.
SHOWN = {
    "best single": ("best single expert", "--single"),
    "cheapest": ("cheapest expert", "--soft"),
    "random": ("random expert", "--soft"),
    "zero-router": ("zero-router: the best random mixes", "--zero"),
    "zero-router, fitted": ("zero-router without hindsight", "--soft"),
    "matched random": ("matched random: our spending, any query", "--matched"),
    "query-blind vote": ("vote that reads no query", "--soft"),
    "agreement cascade": ("cascade by agreement", "--soft"),
    "leeroo, two at once": ("this router, two experts at once", "--other"),
    "oracle": ("oracle: knows every answer", "--oracle"),
}


def our_row(evaluation: Evaluation, predictor: str) -> Row:
    """The row of a version: as it is served, where that was measured, else its predictor's."""
    rows = {row["name"]: row for row in evaluation["rows"]}
    others = [name for name in rows if name not in SHOWN]
    found: Row = rows[next(name for name in ("leeroo", predictor, *others) if name in rows)]
    return found


def find_row(evaluation: Evaluation, name: str) -> Row:
    """The row of a policy that every evaluation has."""
    found: Row = next(row for row in evaluation["rows"] if row["name"] == name)
    return found


def title_of(row: Row, ours: Row) -> str:
    """What the page calls a policy."""
    if row is ours:
        return f"this router ({row['name']})"
    return SHOWN.get(row["name"], (row["name"], ""))[0]


def colour_of(row: Row, ours: Row) -> str:
    """The colour of a policy, as a variable of the page."""
    name = "--ours" if row is ours else SHOWN.get(row["name"], ("", "--other"))[1]
    return f"var({name})"
