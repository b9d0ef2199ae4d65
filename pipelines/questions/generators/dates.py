"""The calendar: weekdays, months and spans, computed with the standard library."""

from __future__ import annotations

import calendar
import datetime
import random
from collections.abc import Iterator

from pipelines.questions.draft import Draft, draft_choice
from pipelines.questions.generator import generator, shuffled

_SOURCE = "calendar"
_DAYS = list(calendar.day_name)
_MONTHS = list(calendar.month_name)[1:]


@generator(domain="dates", source=_SOURCE, levels=3, default=False)
def weekday_after(level: int, rng: random.Random) -> Iterator[Draft]:
    """The weekday some days after or before another: 1 or 2, up to 6, up to 60."""
    spans = (range(1, 3), range(3, 7), range(8, 60))[level]
    for start, days, sign in shuffled([(d, n, s) for d in range(7) for n in spans for s in (1, -1)], rng):
        unit = "day" if days == 1 else "days"
        when = "after" if sign > 0 else "before"
        yield draft_choice(
            f"Which day of the week is {days} {unit} {when} {_DAYS[start]}?",
            _DAYS[(start + sign * days) % 7],
            _DAYS,
        )


@generator(domain="dates", source=_SOURCE, levels=3, default=False)
def month_after(level: int, rng: random.Random) -> Iterator[Draft]:
    """The month some months after or before another: 1, up to 4, up to 11."""
    spans = (range(1, 2), range(2, 5), range(5, 12))[level]
    for start, months, sign in shuffled([(m, n, s) for m in range(12) for n in spans for s in (1, -1)], rng):
        unit = "month" if months == 1 else "months"
        when = "after" if sign > 0 else "before"
        right = _MONTHS[(start + sign * months) % 12]
        yield draft_choice(f"Which month is {months} {unit} {when} {_MONTHS[start]}?", right, _MONTHS)


@generator(domain="dates", source=_SOURCE, levels=1, default=False)
def days_in_month(level: int, rng: random.Random) -> Iterator[Draft]:
    """How many days a month has, February in a year that is named."""
    for month in shuffled(range(1, 13), rng):
        year = rng.randint(1900, 2099) if month == 2 else 2001
        when = f"February {year}" if month == 2 else _MONTHS[month - 1]
        days = calendar.monthrange(year, month)[1]
        yield draft_choice(f"How many days are in {when}?", str(days), ["28", "29", "30", "31"])


@generator(domain="dates", source=_SOURCE, levels=2, default=False)
def weekday_of_date(level: int, rng: random.Random) -> Iterator[Draft]:
    """The weekday of a date, in this century and then in the two before."""
    while True:
        year = rng.randint(2000, 2099) if level == 0 else rng.randint(1800, 1999)
        day = datetime.date(year, 1, 1) + datetime.timedelta(days=rng.randrange(365))
        yield draft_choice(
            f"On which day of the week was or will be {day.day} {_MONTHS[day.month - 1]} {year}?",
            _DAYS[day.weekday()],
            _DAYS,
        )
