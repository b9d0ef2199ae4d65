"""The look of a report's tables: narrow enough for a terminal of 80 columns, so that nothing is cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

NAMES = ("policy", "less", "router", "preset")


def narrow_table(columns: Sequence[str], *, title: str, caption: str | None = None) -> Table:
    """Return an empty table without lines between its columns; names to the left, figures to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title,
        caption=caption,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    for column in columns:
        is_name = column in NAMES
        table.add_column(column, justify="left" if is_name else "right", no_wrap=not is_name)
    return table
