"""What a report is made of: sections of paragraphs, figures, tables and charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is read, and what it is sorted by."""

    text: str
    order: float | str | None = None  # None: by the text
    per_query_usd: float | None = None  # the page shows this times the queries a month


@dataclass(frozen=True)
class Table:
    """A table. Columns whose name stands in ``numbers`` are set to the right."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: tuple[str, ...] = ()
    by_domain: str | None = None  # the column that the page's choice of a domain filters


@dataclass(frozen=True)
class Chart:
    """A picture as a Vega-Lite specification, what it says in a sentence or two, and the table behind it."""

    name: str  # also of the figure's file
    title: str
    spec: Mapping[str, Any]
    says: str
    table: Table
    has_domains: bool = False  # it has a parameter ``domain``


@dataclass(frozen=True)
class Figure:
    """A number that stands out, with what it is."""

    value: str
    what: str
    per_query_usd: float | None = None


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Figures:
    """Numbers side by side."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Examples:
    """Texts of other people, shown as they are."""

    title: str
    texts: tuple[str, ...]


Part = Paragraph | Figures | Table | Chart | Examples


@dataclass(frozen=True)
class Section:
    """One chapter of the page."""

    name: str
    title: str
    parts: tuple[Part, ...]

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Its pictures."""
        return tuple(part for part in self.parts if isinstance(part, Chart))


def table_of(
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell | str]],
    *,
    numbers: Sequence[str] = (),
    by_domain: str | None = None,
) -> Table:
    """Make a table; plain texts are cells that are sorted by themselves."""
    made = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
    return Table(name, tuple(columns), made, tuple(numbers), by_domain)


def percent(share: float | None, digits: int = 1) -> Cell:
    """A share of one as a percentage."""
    return Cell("-", -1.0) if share is None else Cell(f"{100 * share:.{digits}f}%", share)


def with_interval(measure: Mapping[str, Any] | None) -> Cell:
    """A share of one with its 95% interval, from ``evaluation.json`` or a round's record."""
    if measure is None or measure["value"] is None:
        return Cell("-", -1.0)
    text = f"{100 * measure['value']:.1f}% [{100 * measure['low']:.1f}, {100 * measure['high']:.1f}]"
    return Cell(text, measure["value"])


def points(measure: Mapping[str, Any]) -> Cell:
    """A difference of shares in points, with its interval."""
    text = f"{100 * measure['value']:+.1f} [{100 * measure['low']:+.1f}, {100 * measure['high']:+.1f}]"
    return Cell(text, measure["value"])


def usd_per_1k(cost_usd: float | None) -> Cell:
    """A cost of one query in USD per 1,000."""
    return Cell("-", -1.0) if cost_usd is None else Cell(money(1000 * cost_usd), cost_usd)


def usd(amount: float) -> Cell:
    """An amount."""
    return Cell(money(amount), amount)


def money(amount: float) -> str:
    """An amount for people: cents where there are dollars, three digits where there are none."""
    size, sign = abs(amount), "-" if amount < 0 else ""
    if size >= 10 or size == 0:
        return f"{sign}${size:,.2f}" if size else "$0"
    digits = 2 - math.floor(math.log10(size))
    return f"{sign}${size:.{digits}f}".rstrip("0").rstrip(".")
