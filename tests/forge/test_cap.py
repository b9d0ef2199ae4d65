"""The cap: what was used counts over kills, and what cannot suffice is refused with both figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.forge.closing.cap import Cap, Meter
from warehouse import InfeasibleError, InputError

AMOUNT = st.floats(0, 1e4)


@settings(deadline=None)
@given(used=st.lists(AMOUNT, min_size=1, max_size=5), price=st.floats(0, 10), asked=AMOUNT)
def test_time_of_all_runs_counts_and_costs(
    tmp_path_factory: pytest.TempPathFactory, used: list[float], price: float, asked: float
) -> None:
    file = tmp_path_factory.mktemp("cap") / "spent.json"
    for seconds in used:  # each run is killed after so long, and says so with its last sign
        meter = Meter(file, Cap(usd_per_hour=price))
        meter._started -= seconds
        meter.save()
    meter = Meter(file, Cap(usd_per_hour=price))
    assert sum(used) <= meter.spent_s <= sum(used) + 60
    assert meter.spent_usd(asked) == pytest.approx(sum(used) / 3600 * price + asked, abs=60 * price / 3600)
    assert meter.left_usd(asked) is None


@settings(deadline=None)
@given(budget=AMOUNT, work_s=AMOUNT, usd=AMOUNT, asked=AMOUNT)
def test_what_cannot_suffice_is_refused(
    tmp_path_factory: pytest.TempPathFactory, budget: float, work_s: float, usd: float, asked: float
) -> None:
    file = tmp_path_factory.mktemp("cap") / "spent.json"
    meter = Meter(file, Cap(budget_usd=budget, usd_per_hour=1.0))
    total = work_s / 3600 + usd + asked
    if total > budget:
        with pytest.raises(InfeasibleError, match="larger --budget-usd"):
            meter.check("asking", "gap", work_s=work_s, usd=usd, asked_usd=asked)
    elif total < budget - 0.1:
        meter.check("asking", "gap", work_s=work_s, usd=usd, asked_usd=asked)
    left = meter.left_usd(asked, work_s=work_s)
    assert left is not None
    assert left == pytest.approx(max(0.0, budget - asked - work_s / 3600), abs=0.1)


def test_time_that_is_used_up_ends_the_work_where_it_is(tmp_path: Path) -> None:
    meter = Meter(tmp_path / "spent.json", Cap(minutes=1.0))
    meter.tick()
    meter._started -= 61
    with pytest.raises(InfeasibleError, match="1 minutes do not suffice"):
        meter.tick()
    meter.save()
    with pytest.raises(InfeasibleError):  # nor does the next run begin
        Meter(tmp_path / "spent.json", Cap(minutes=1.0)).tick()
    Meter(tmp_path / "spent.json", Cap(minutes=2.0)).tick()


@pytest.mark.parametrize("field", ["budget_usd", "minutes", "usd_per_hour"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_cap_that_is_none_is_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        Cap(**{field: value})


def test_a_damaged_count_is_named(tmp_path: Path) -> None:
    (tmp_path / "spent.json").write_text("{")
    with pytest.raises(InputError, match="delete it"):
        Meter(tmp_path / "spent.json", Cap())
