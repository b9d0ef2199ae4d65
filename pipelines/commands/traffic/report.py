"""``leeroo traffic report``: what drifts in the traffic, with thresholds."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, CsvOption, HomeOption
from warehouse.home import Home

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.traffic.drift import Difference, Ratio
    from pipelines.traffic.watch import Group, TrafficReport


def register(traffic: typer.Typer) -> None:
    """Add the command to its group."""
    traffic.command("report")(report)


def report(
    days: Annotated[
        float | None, typer.Option(min=0.001, help="Use requests of the last DAYS days only.")
    ] = None,
    novel_share: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Alert above this share of requests that are unlike the training set."
        ),
    ] = 0.25,
    success_gap: Annotated[
        float,
        typer.Option(min=0, max=1, help="Alert if success differs from its forecast by more than this."),
    ] = 0.10,
    cost_ratio: Annotated[
        float, typer.Option(min=1, help="Alert if costs exceed their forecast by more than this factor.")
    ] = 1.5,
    shift_success: Annotated[
        float, typer.Option(min=0, max=1, help="Alert if an expert's success shifts by more than this.")
    ] = 0.10,
    shift_ratio: Annotated[
        float,
        typer.Option(
            min=1, help="Alert if the length or price of its answers shifts by more than this factor."
        ),
    ] = 1.25,
    alpha: Annotated[
        float,
        typer.Option(min=0.0001, max=0.5, help="Probability of a false alarm over all shift tests together."),
    ] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    as_csv: CsvOption = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Compare traffic with its forecasts: queries, success, costs. Exit code 1 beyond a threshold.

    `leeroo doctor` and the endpoint's metrics show the last report.
    """
    from pipelines.commands.terminal.progress import working
    from pipelines.traffic.kept_report import keep_report
    from pipelines.traffic.reporting import report_traffic
    from pipelines.traffic.watch import Thresholds

    place = Home.open(home)
    limits = Thresholds(novel_share, success_gap, cost_ratio, shift_success, shift_ratio, alpha)
    with working("reading the recorded traffic"):
        found = report_traffic(place, limits, days=days)
    content = keep_report(place, found)
    if as_json:
        typer.echo(json.dumps(content, indent=2))
    elif as_csv:
        from pipelines.commands.terminal.query_output import write_records

        write_records(_records(found), sys.stdout, as_csv=True)
    else:
        print_report(found)
    if found.complaints:
        raise typer.Exit(1)


def _records(report: TrafficReport) -> list[dict[str, object]]:
    """A row for each expert, task or form, and stretch of time."""
    parts = (("expert", report.experts), ("task or form", report.domains), ("from", report.windows))
    return [
        {"by": by, "name": group.name, "requests": group.requests}
        | {f"success_{name}": value for name, value in _figures(group.success).items()}
        | {f"cost_{name}": value for name, value in _figures(group.cost).items()}
        for by, groups in parts
        for group in groups
    ]


def _figures(found: Difference | Ratio | None) -> dict[str, float]:
    return {} if found is None else asdict(found)


def print_report(report: TrafficReport) -> None:
    """Print it as tables of at most 80 columns, and what is complained of."""
    from rich.text import Text

    from pipelines.commands.terminal.console import Terminal, print_line

    console = Terminal()

    print_line(
        f"{report.requests:,} requests, {report.begins:%Y-%m-%d %H:%M} to {report.ends:%Y-%m-%d %H:%M} UTC;"
        f" {report.scored:,} scored by a user or a judge"
    )
    if (novel := report.novelty) is not None:
        print_line(
            f"unlike what was trained on: {novel.share:.1%} [{novel.low:.1%}, {novel.high:.1%}] of the"
            f" requests; {novel.expected:.0%} without drift"
        )
    if report.judge.pairs:
        judge = report.judge
        print_line(
            f"judge and users agree on {judge.agreement:.0%} [{judge.agreement_low:.0%},"
            f" {judge.agreement_high:.0%}] of {judge.pairs:,} answers; the judge's mean is {judge.bias:+.2f}"
            f" [{judge.bias_low:+.2f}, {judge.bias_high:+.2f}] beside theirs"
        )
    for title, groups in (
        ("expert", report.experts),
        ("task or form", report.domains),
        ("from", report.windows),
    ):
        console.print(group_table(title, groups))
    for change in report.changes:
        print_line(
            f"{change.expert}: {change.measure} shifted at {change.since:%Y-%m-%d %H:%M} from"
            f" {change.before:.3g} to {change.after:.3g} (p {change.p_value:.2g}, n {change.n:,})"
        )
    for complaint in report.complaints:
        console.print(
            Text.assemble((complaint.who, "red"), f": {complaint.what}. To fix it: {complaint.fix}")
        )
    if not report.complaints:
        print_line("nothing is beyond its threshold")


def group_table(title: str, groups: Sequence[Group]) -> Table:
    """Lay forecasts beside what was found."""
    from rich.table import Table

    table = Table(title, "n", "forecast", "found", "difference, 95%", "bill / forecast")
    for group in groups:
        success, cost = group.success, group.cost
        table.add_row(
            group.name,
            f"{group.requests:,}",
            "-" if success is None else f"{success.forecast:.2f}",
            "-" if success is None else f"{success.found:.2f} ({success.n:,})",
            "-" if success is None else f"{success.low:+.2f} .. {success.high:+.2f}",
            "-" if cost is None else f"{cost.ratio:.2f} [{cost.low:.2f}, {cost.high:.2f}]",
        )
    return table
