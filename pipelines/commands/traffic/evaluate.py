"""``leeroo traffic evaluate``: what two versions are worth on what was served."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption
from warehouse.home import Home

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

    from orchestrator.off_policy.estimate import Comparison, Estimate
    from orchestrator.off_policy.intervals import Interval
    from orchestrator.versions.traffic_comparison import TrafficComparison


def register(traffic: typer.Typer) -> None:
    """Add the command to its group."""
    traffic.command("evaluate")(evaluate)


def evaluate(
    versions: Annotated[
        str, typer.Option(help="Two versions or aliases; differences are first minus second.")
    ] = "challenger,champion",
    since: Annotated[
        str | None, typer.Option(help="Requests since a date (2030-01-31) or within a period (7d, 12h).")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="Estimator: dr (doubly robust), snips (self-normalised) or ips (inverse propensity)."
        ),
    ] = "dr",
    ratings: Annotated[str, typer.Option(help="Ratings to use: both, feedback or judge.")] = "both",
    by: Annotated[str, typer.Option(help="Group by task, key or form.")] = "task",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of tables.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Estimate value, cost and difference of two versions from recorded traffic, with 95% intervals.

    Needs requests in which chance had a say (`leeroo serve --explore-share`) and ratings of answers; says how
    much exploring would be needed where there was too little.
    """
    from orchestrator.versions.traffic_comparison import compare_on_traffic
    from pipelines.commands.terminal.progress import working
    from pipelines.commands.terminal.query_output import write_csv, write_json
    from warehouse import InputError, split_names

    if as_json and as_csv:
        raise InputError("JSON or CSV", where="--json, --csv", fix="leave out one")
    place = Home.open(home)
    with working("estimating from the recorded traffic"):
        found = compare_on_traffic(
            place.mlflow_uri,
            place.warehouse(),
            split_names(versions),
            since=read_since(since, datetime.now(UTC)),
            method=method,  # type: ignore[arg-type]  # checked there, and named
            ratings=ratings,  # type: ignore[arg-type]
            by=by,
        )
    if as_json:
        write_json(rows_of(found), sys.stdout)
    elif as_csv:
        write_csv(rows_of(found), sys.stdout)
    else:
        print_comparison(found, by)


def read_since(text: str | None, now: datetime) -> datetime | None:
    """Read a date, a moment, or a length of time before now: 30m, 12h, 7d, 2w.

    Raises:
        InputError: it is none of these.
    """
    from warehouse import InputError

    if text is None:
        return None
    hours = {"m": 1 / 60, "h": 1.0, "d": 24.0, "w": 168.0}
    try:
        if text[-1:] in hours:
            return now - timedelta(hours=hours[text[-1]] * float(text[:-1]))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InputError(
            f"no moment: {text!r}", where="--since", fix="give a date (2030-01-31), or a length (7d, 12h)"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def rows_of(found: TrafficComparison) -> pa.Table:
    """A row for each group, measure and version, and for each difference: nothing is rounded."""
    import pyarrow as pa

    rows: list[dict[str, object]] = []
    parts: dict[str, Comparison] = {} if found.overall is None else {"": found.overall}
    for group, one in (parts | found.groups).items():
        base = {"group": group, "how": one.method, "requests": one.requests, "rated": one.rated}
        for measure, pair in (("success", one.success), ("cost_usd", one.cost_usd)):
            rows += [
                base | {"measure": measure, "version": version} | _figures(estimate)
                for version, estimate in zip(found.versions, pair, strict=True)
            ]
        for measure, estimate in (
            ("success", one.success_difference),
            ("cost_usd", one.cost_difference),
            ("value", one.value_difference),
        ):
            rows.append(base | {"measure": measure, "version": "difference"} | _figures(estimate))
    if (canary := found.canary) is not None:
        units = canary.champion_units + canary.challenger_units
        base = {"group": "", "how": "canary", "requests": units, "rated": canary.rated}
        base |= {"version": "difference"}
        for measure, interval in (
            ("success", canary.success),
            ("cost_usd", canary.cost_usd),
            ("value", canary.value),
        ):
            rows.append(base | {"measure": measure, "low": interval.low, "high": interval.high})
    columns = ("group", "how", "requests", "rated", "measure", "version", "value", "low", "high")
    names = (*columns, "effective_n", "untried_share")
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _figures(one: Estimate) -> dict[str, float]:
    return {
        "value": one.value,
        "low": one.interval.low,
        "high": one.interval.high,
        "effective_n": one.effective_n,
        "untried_share": one.overlap.untried,
    }


def print_comparison(found: TrafficComparison, by: str) -> None:
    """Print it in tables of at most 80 columns, and what has to be known beside."""
    from pipelines.commands.terminal.console import Terminal, print_line

    console = Terminal()

    first, second = found.versions
    print_line(
        f"{found.requests:,} routed requests, {found.begins:%Y-%m-%d %H:%M} to {found.ends:%Y-%m-%d %H:%M}"
        f" UTC; in {found.randomised:,} chance had a say"
    )
    if found.unread:
        print_line(f"{found.unread:,} left out: their embeddings are not those that a version reads")
    if found.overall is not None:
        console.print(comparison_table(found.overall, found.versions))
        console.print(difference_table(found, by))
        print_line(
            f"value: success less {found.multiplier:.4g} for each dollar. Ratings are of those who gave one;"
            " whether others would have said the same, no estimate can tell."
        )
        if found.too_small:
            print_line(f"{found.too_small} groups are too small, or too little was tried in them")
        print_line(_conclusion(f"version {first}", second, found.overall.value_difference.interval))
    elif found.why_not:
        print_line(f"no estimate: {found.why_not}")
    if (canary := found.canary) is not None:
        print_line(
            f"canary: {canary.challenger_units:,} units of version {first}, {canary.champion_units:,} of"
            f" {second}, {canary.rated:,} rated; {_points(canary.success)} points of success,"
            f" {_usd(canary.cost_usd)} $ for 1,000 requests; {canary.verdict}: {canary.why}"
        )


def comparison_table(one: Comparison, versions: tuple[str, str]) -> Table:
    """Lay out what two versions are worth."""
    from rich.table import Table

    table = Table("version", "success", "95%", "$ / 1k", "95%", "effective n")
    for version, success, cost in zip(versions, one.success, one.cost_usd, strict=True):
        table.add_row(
            version,
            f"{success.value:.3f}",
            f"{success.interval.low:.3f} .. {success.interval.high:.3f}",
            f"{1000 * cost.value:.3g}",
            f"{1000 * cost.interval.low:.3g} .. {1000 * cost.interval.high:.3g}",
            f"{success.effective_n:,.0f}",
        )
    return table


def difference_table(found: TrafficComparison, by: str) -> Table:
    """Lay out by how much they differ, overall and in groups."""
    from rich.table import Table

    assert found.overall is not None
    table = Table(by, "rated", "success, points", "$ / 1k", "value, points")
    for name, one in ({"all": found.overall} | found.groups).items():
        table.add_row(
            name,
            f"{one.rated:,}",
            _with_points(one.success_difference),
            _usd(one.cost_difference.interval),
            _with_points(one.value_difference),
        )
    return table


def _with_points(one: Estimate) -> str:
    return f"{100 * one.value:+.1f} [{100 * one.interval.low:+.0f}, {100 * one.interval.high:+.0f}]"


def _points(interval: Interval) -> str:
    return f"{100 * interval.low:+.1f}, {100 * interval.high:+.1f}"


def _usd(interval: Interval) -> str:
    return f"{1000 * interval.low:+.2g} .. {1000 * interval.high:+.2g}"


def _conclusion(first: str, second: str, value: Interval) -> str:
    if value.low > 0:
        return f"{first} is worth more than {second} on this traffic"
    if value.high < 0:
        return f"{first} is worth less than {second} on this traffic"
    return f"{first} cannot be told from {second} on this traffic"
