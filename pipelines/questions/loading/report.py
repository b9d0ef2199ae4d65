"""What loading left out, decided and did not read: told to whoever loads, with an example of each."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)


@dataclass
class LoadReport:
    """What happened to the rows of a file or folder besides being read."""

    place: str = ""
    records: int = 0
    dropped: dict[str, tuple[int, str]] = field(default_factory=dict)  # reason -> how many, the first one
    notes: list[str] = field(default_factory=list)

    def drop(self, reason: str, example: str) -> None:
        """Count a row that is left out."""
        count, first = self.dropped.get(reason, (0, example))
        self.dropped[reason] = count + 1, first

    def note(self, what: str) -> None:
        """Tell something once."""
        if what not in self.notes:
            self.notes.append(what)

    @property
    def lines(self) -> list[str]:
        """One line for each reason and note."""
        dropped = [
            f"dropped {count:,} ({reason}), first: {example}"
            for reason, (count, example) in self.dropped.items()
        ]
        return dropped + self.notes

    def log(self) -> None:
        """Log every line, for callers that show no report."""
        for line in self.lines:
            _log.warning("%s: %s", self.place, line)


def report_of(reports: Iterable[LoadReport]) -> list[str]:
    """The lines of several reports, each with its place."""
    return [f"{report.place}: {line}" for report in reports for line in report.lines]
