"""What long work is at, and how long it may take: a bar on a terminal, in a pipe a plain line now and then.

It goes to the standard error: what a command prints is its result alone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size

from pipelines.commands.terminal.console import Terminal

#: Takes what is being done now, and which share of all is done (0 to 1; None where that cannot be told).
Tell = Callable[[str, float | None], None]

FIRST_LINE_S = 5.0  # work that is over by then says nothing in a pipe
LONGEST_SILENCE_S = 60.0
_SPINNER_WIDTH = 2
_LEAST_SHARE = 0.02  # below it what is left is a guess


@dataclass
class Work:
    """How far work has come.

    Attributes:
        what: the whole of it, as in "evaluating 4 policies on 14,000 questions".
        clock: seconds.
    """

    what: str
    clock: Callable[[], float] = time.monotonic
    step: str = ""
    share: float | None = None
    began_s: float = field(init=False)
    _told_s: float = field(init=False)  # when the share was told
    _largest_step: float = field(init=False, default=0.0)  # share of the work

    def __post_init__(self) -> None:
        self.began_s = self._told_s = self.clock()

    def tell(self, step: str, share: float | None = None) -> None:
        """Note what is being done now."""
        share = None if share is None else min(max(share, 0.0), 1.0)
        if share is not None:
            self._largest_step = max(self._largest_step, share - (self.share or 0.0))
            self._told_s = self.clock()
        self.step, self.share = step, share

    def left_s(self, now_s: float) -> float | None:
        """Return the seconds that are left if the work goes on at its pace; None where that cannot be told.

        Between two tells the share is taken to grow at the pace so far, by the largest step at most. So the
        time left counts down, and rises only where a step takes longer than expected.
        """
        if self.share is None or self.share < _LEAST_SHARE:
            return None
        until_told_s, spent_s = self._told_s - self.began_s, now_s - self.began_s
        if until_told_s <= 0:
            return None
        since_told = self.share * (spent_s / until_told_s - 1)
        share = min(self.share + min(since_told, self._largest_step), 1.0)
        return spent_s * (1 - share) / share

    def line(self, width: int | None = None) -> str:
        """Say it in a line: what, where it stands, how long it took, how long it may take.

        Args:
            width: columns that it may take; what is being done is cut short before the figures are.
        """
        now_s = self.clock()
        took = f"{spell_s(now_s - self.began_s)} so far"
        left_s = self.left_s(now_s)
        left = "" if left_s is None else f", about {spell_s(left_s)} left"
        done = "" if self.share is None else f"{self.share:.0%}, "
        doing, figures = f"{self.what}{f': {self.step}' if self.step else ''}", f" ({done}{took}{left})"
        return (doing if width is None else shorten(doing, width - cell_len(figures))) + figures


@contextlib.contextmanager
def working(what: str, console: Terminal | None = None) -> Iterator[Tell]:
    """Show how work goes while the block runs.

    >>> with working("reading 3 files") as tell:
    ...     for number in range(3):
    ...         tell(f"file {number + 1}", number / 3)
    """
    console = console or Terminal(stderr=True)
    work, over = Work(what), threading.Event()
    show = _show_status if console.is_terminal else _say_lines
    watcher = threading.Thread(target=show, args=(work, over, console), daemon=True)
    watcher.start()
    try:
        yield work.tell
    finally:
        over.set()
        watcher.join()


def _say_lines(work: Work, over: threading.Event, console: Terminal) -> None:
    silence_s = FIRST_LINE_S
    while not over.wait(silence_s):
        console.print(work.line())
        silence_s = min(2 * silence_s, LONGEST_SILENCE_S)


def _show_status(work: Work, over: threading.Event, console: Terminal) -> None:
    room = console.width - _SPINNER_WIDTH
    with console.status(work.line(room)) as status:
        while not over.wait(0.5):
            status.update(work.line(room))


def one_line(text: str, console: Terminal) -> str:
    """Return a text for :meth:`Console.status` that stays one line on a terminal."""
    return shorten(text, console.width - _SPINNER_WIDTH)


def shorten(text: str, width: int) -> str:
    """Return a text in so many columns, its end replaced where there is more of it.

    >>> shorten("sheep and goats", 9), shorten("sheep", 9)
    ('sheep an…', 'sheep')
    """
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…"


def spell_s(seconds: float) -> str:
    """Spell a length of time: 8 s, 2 min 10 s, 3 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
