"""Tables that lose nothing on a narrow terminal: folded where words fit, else a block of lines a row.

Rich cuts cells that do not fit, and breaks experts' names in two. A table whose longest words fit
side by side stays a table; one where they do not is written as `column  value` lines, a block for each row.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_WORDS = re.compile(r"\s+")


def fit(content: RenderableType, console: Console) -> RenderableType:
    """Return what is to be printed so that it fits: tables, those of groups too; the rest as it is."""
    from rich.console import Group
    from rich.table import Table

    if isinstance(content, Group):
        return Group(*(fit(part, console) for part in content.renderables))
    return _fit_table(content, console) if isinstance(content, Table) else content


def _fit_table(table: Table, console: Console) -> RenderableType:
    texts = [[_text(cell, console) for cell in (column.header, *column.cells)] for column in table.columns]
    needed = [max(map(_longest, own), default=0) for own in texts]
    wanted = [max((cell_len(line) for text in own for line in text.splitlines()), default=0) for own in texts]
    around = sum(table._get_padding_width(i) for i in range(len(needed))) + table._extra_width
    spare = console.width - sum(needed) - around
    if spare < 0:
        return _as_blocks(table, console)
    if sum(wanted) + around > console.width:
        lacking = [want - need for want, need in zip(wanted, needed, strict=True)]
        for column, need, lack in zip(table.columns, needed, lacking, strict=True):
            column.width = need + spare * lack // max(sum(lacking), 1)
    for column in table.columns:
        column.overflow, column.no_wrap = "fold", False
    return table


def _as_blocks(table: Table, console: Console) -> RenderableType:
    """Each row as lines of header and value; the first column heads them."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    if table.title:
        parts.append(Text(_text(table.title, console), style="italic"))
    headers = [_text(column.header, console) or " " for column in table.columns]
    label = min(max(map(len, headers), default=0), console.width // 3)
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        block = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
        block.add_column(width=label, overflow="fold", style="bold")
        block.add_column(overflow="fold")
        for header, cell in zip(headers, cells, strict=True):
            block.add_row(Text(header), cell)
        parts += [block, ""]
    if table.caption:
        parts.append(Text(_text(table.caption, console)))
    return Group(*parts)


def _text(cell: RenderableType, console: Console) -> str:
    from rich.text import Text

    if isinstance(cell, Text):
        return cell.plain
    return console.render_str(cell).plain if isinstance(cell, str) else ""


def _longest(text: str) -> int:
    """Width of the longest word."""
    return max(map(cell_len, _WORDS.split(text)), default=0)
