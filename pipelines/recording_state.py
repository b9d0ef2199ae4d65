"""Describe what a home records of requests, for how long, and problems with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from warehouse.traffic.retention import DEFAULT_DAYS, read_recording
from warehouse.traffic.texts import TextsHeld, TextStore

_PATIENCE = timedelta(hours=2)  # an endpoint looks once an hour

Problem = tuple[str, str, str]  # who has it, what it is, how to fix it


def look_at_recording(home: Path) -> tuple[str, tuple[Problem, ...]]:
    """Return a line on what is recorded, and the problems. Texts are only counted, so no key is needed."""
    noted = read_recording(home)
    held = TextStore(home).held()
    told = "features, unless an endpoint is told otherwise (none was started here yet)"
    if noted is not None:
        told = {"none": "nothing but what a request costs", "features": "features, no texts"}.get(
            noted.mode, ""
        )
    if noted is not None and noted.mode == "texts":
        told = f"texts, for {noted.keep_days} days, {'encrypted' if noted.is_sealed else 'NOT encrypted'}"
        told += ", redacted" if noted.is_redacted else ""
    if held.texts:
        told += f"; {held.texts:,} texts are held, {held.plain:,} of them plain"
    days = DEFAULT_DAYS if noted is None else noted.keep_days
    return told, tuple(_problems(held, days))


def _problems(held: TextsHeld, keep_days: int) -> list[Problem]:
    if held.oldest is None or datetime.now(UTC) - held.oldest < timedelta(days=keep_days) + _PATIENCE:
        return []
    what = f"hold words from {held.oldest:%Y-%m-%d}, beyond their {keep_days} days: no endpoint runs here"
    return [("texts", what, "run `leeroo traffic expire`")]
