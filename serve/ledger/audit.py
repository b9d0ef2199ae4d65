"""Check that the books add up: the charges of keys and teams against their calls, to the picodollar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from serve.ledger.accounts.budgets import places_of
from serve.ledger.picodollars import MOST_PICO, PICO_PER_USD
from serve.ledger.store.place import Place, open_store


@dataclass(frozen=True)
class PeriodBooks:
    """One period of one key or team, in picodollars; ``calls`` counts those that are still known."""

    key_id: str  # of a team, its id
    name: str
    period_start: str
    budget: int | None
    spent: int
    reserved: int
    disputed: int
    forgotten_spent: int  # part of ``spent``, of calls that are not known any more
    calls: int
    kind: Literal["key", "team"] = "key"


@dataclass(frozen=True)
class Audit:
    """The result of an audit: every period with books, and each fault found, in one sentence each."""

    periods: tuple[PeriodBooks, ...]
    faults: tuple[str, ...]

    @property
    def disputed_usd(self) -> float:
        """The amount that upstreams claim, or may bill, beyond the charges to keys."""
        return sum(one.disputed for one in self.periods if one.kind == "key") / PICO_PER_USD


def check_books(place: Place) -> Audit:
    """Compare what every key was charged, disputed and reserved with its calls, in one look at the ledger.

    Raises:
        LeerooError: the ledger cannot be read.
    """
    db = open_store(place)
    try:
        with db.told_plainly(), db.transaction():
            teams = {row["team_id"]: row for row in db.all("select * from teams")}
            owners = {row["key_id"]: row for row in db.all("select * from keys")} | teams
            spending = db.all("select * from spending order by key_id, period_start")
            calls = db.all(
                "select key_id, period_start, teams, reserved, cost, state, disputed, request_id from calls"
            )
    finally:
        db.close()
    faults: list[str] = []
    sums: dict[tuple[str, str], list[int]] = {}
    for call in calls:
        for booked_in in places_of(call):
            total = sums.setdefault(booked_in, [0, 0, 0, 0])
            total[0] += call["cost"] or 0
            total[1] += call["disputed"]
            total[2] += call["reserved"] if call["state"] == "open" else 0
            total[3] += 1
        if (call["cost"] or 0) > call["reserved"]:
            faults.append(
                f"call {call['request_id']} was charged {_usd(call['cost'])},"
                f" more than the {_usd(call['reserved'])} that were reserved for it"
            )
    periods = []
    for row in spending:
        owner = owners.get(row["key_id"])
        known = sums.pop((row["key_id"], row["period_start"]), [0, 0, 0, 0])
        period = PeriodBooks(
            key_id=row["key_id"],
            name=owner["name"] if owner else "",
            period_start=row["period_start"],
            budget=owner["budget"] if owner else None,
            spent=row["spent"],
            reserved=row["reserved"],
            disputed=row["disputed"],
            forgotten_spent=row["forgotten_spent"],
            calls=known[3],
            kind="team" if row["key_id"] in teams else "key",
        )
        periods.append(period)
        known[0] = min(known[0] + row["forgotten_spent"], MOST_PICO)
        known[1] = min(known[1] + row["forgotten_disputed"], MOST_PICO)
        where = f"{period.kind} {period.name or period.key_id or 'of nobody'}, period {period.period_start}"
        for word, booked, counted in (
            ("charged", row["spent"], known[0]),
            ("disputed", row["disputed"], known[1]),
            ("reserved", row["reserved"], known[2]),
        ):
            if booked != counted:
                difference = f"a difference of {_usd(booked - counted)}"
                faults.append(
                    f"{where}: {_usd(booked)} {word}, but its calls say {_usd(counted)}, {difference}"
                )
            if booked < 0:
                faults.append(f"{where}: {_usd(booked)} {word}, less than nothing")
        # Where a budget was lowered, what was granted before is no fault.
        if period.budget is not None and period.spent + period.reserved > period.budget + row["excused"]:
            over = _usd(period.spent + period.reserved - period.budget)
            faults.append(f"{where}: {over} beyond its budget of {_usd(period.budget)}")
    for (key_id, start), (spent, disputed, reserved, count) in sums.items():
        if spent or disputed or reserved:
            faults.append(f"key {key_id}, period {start}: {count} calls that its books do not know")
    return Audit(tuple(periods), tuple(faults))


def _usd(pico: int) -> str:
    return f"${pico // PICO_PER_USD}.{pico % PICO_PER_USD:012d}" if pico >= 0 else f"-{_usd(-pico)}"
