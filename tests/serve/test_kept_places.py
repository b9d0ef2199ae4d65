"""A place that is kept for a caller who was just answered, and those who wait meanwhile."""

import asyncio
import time

import pytest

from serve.request.turns.places import Turns


@pytest.mark.parametrize("places", [2, 3, 4, 8])
def test_a_place_that_was_kept_goes_to_who_waits_once_that_time_is_over(places, monkeypatch):
    """Though nobody comes or goes: whoever holds the others may take a minute."""
    monkeypatch.setattr("serve.request.turns.places.KEPT_S", 0.1)

    async def go():
        turns = Turns(places)
        for number in range(places // 2):
            await turns.take("long")
            await turns.take(f"quick {number}")
        for number in range(places // 2):
            turns.free(f"quick {number}")
        if places % 2:
            await turns.take("long")
        began = time.monotonic()
        await asyncio.wait_for(asyncio.gather(*(turns.take("late") for _ in range(places // 2))), 3.0)
        assert turns.at_once == places
        return time.monotonic() - began

    assert 0.05 < asyncio.run(go()) < 1.0
