"""Tables that lose nothing on a narrow terminal: folded where words fit, else a block of lines a row.

Rich cuts cells that do not fit, and breaks experts' names in two. A table whose longest words fit side by
side stays a table, without lines between its columns if need be. Any other is written as `column  value`
lines, a block for each row.
"""

from __future__ import annotations

import re

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

_WORDS = re.compile(r"^\s*\S+|\S+")  # what the text begins with counts to the first
_CONTROLS = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)}
_CONTROLS |= {0x09: 0x20, 0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def visible(text: str) -> str:
    """Return a text whose control characters are shown instead of obeyed: some move the cursor, or hide."""
    return text.translate(_CONTROLS)


def fit(content: RenderableType, console: Console) -> RenderableType:
    """Return what is to be printed so that it fits: tables, those of groups too; the rest as it is."""
    if isinstance(content, Group):
        return Group(*(fit(part, console) for part in content.renderables))
    if isinstance(content, Text):
        return _visible_text(content)
    return _fit_table(content, console) if isinstance(content, Table) else content


def _visible_text(text: Text) -> Text:
    text = text.copy()
    text.plain = visible(text.plain)
    return text


def _fit_table(table: Table, console: Console) -> RenderableType:
    for column in table.columns:
        column._cells = [_visible_text(cell) if isinstance(cell, Text) else cell for cell in column._cells]
    texts = [[_text(cell, console) for cell in (column.header, *column.cells)] for column in table.columns]
    needed = [max(map(_longest, own), default=0) for own in texts]
    wanted = [max((cell_len(line) for text in own for line in text.splitlines()), default=0) for own in texts]
    around = _width_around(table)
    if sum(needed) + around > console.width:  # the lines between columns go before the columns do
        table.box, table.padding = SIMPLE_HEAD, (0, 1, 0, 0)
        around = _width_around(table)
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


def _width_around(table: Table) -> int:
    """Return the width that a table needs beside its cells."""
    return sum(table._get_padding_width(i) for i in range(len(table.columns))) + table._extra_width


def _as_blocks(table: Table, console: Console) -> RenderableType:
    """Each row as lines of header and value; the first column heads them."""
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

    if isinstance(cell, Text):
        return cell.plain
    return console.render_str(cell).plain if isinstance(cell, str) else ""


def _longest(text: str) -> int:
    """Width of the longest word."""
    return max(map(cell_len, _WORDS.findall(text)), default=0)
