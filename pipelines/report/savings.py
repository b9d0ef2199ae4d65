"""What the router saves in a month, at a volume that the reader gives."""

from __future__ import annotations

from pipelines.report.parts import Cell, Figure, Figures, Paragraph, Section, money, table_of, with_interval
from pipelines.report.policies import Evaluation, find_row, our_row


def tell_savings(evaluation: Evaluation | None, predictor: str, queries_per_month: float) -> Section | None:
    """Each position of the router beside the best single expert; None where the version was not evaluated."""
    if evaluation is None:
        return None
    ours = our_row(evaluation, predictor)["measures"]
    single = find_row(evaluation, "best single")["measures"]
    always = float(single["cost_usd"]["value"])
    budgets = sorted((key.split("@")[1] for key in ours if key.startswith("accuracy@")), key=float)
    positions = [("no budget pressure", ours["accuracy"], ours["cost_usd"])] + [
        (f"within {100 * float(share):g}% of the best single expert's cost",
         ours[f"accuracy@{share}"], ours[f"cost@{share}"])
        for share in reversed(budgets)
    ]  # fmt: skip
    rows = [
        (f"always {evaluation['best_single']}", with_interval(single["accuracy"]), Cell("-", 0.0),
         _monthly(always, queries_per_month), _monthly(0.0, queries_per_month))
    ]  # fmt: skip
    for name, accuracy, cost in positions:
        if accuracy["value"] is None or cost["value"] is None:
            continue
        change = accuracy["value"] - single["accuracy"]["value"]
        rows.append(
            (name, with_interval(accuracy), Cell(f"{100 * change:+.1f}", change),
             _monthly(cost["value"], queries_per_month), _monthly(always - cost["value"], queries_per_month))
        )  # fmt: skip
    numbers = ("accuracy [95%]", "points against it", "a month", "saved a month")
    figures = Figures(
        (
            Figure("", "a month for always the best single expert", always),
            Figure("", "a month with this router, no budget pressure", float(ours["cost_usd"]["value"])),
            Figure("", "saved a month", always - float(ours["cost_usd"]["value"])),
        )
    )
    text = (
        "Costs are those of the answers to the questions of the evaluation, at the prices of the catalogue."
        " Your queries may be longer or shorter; hosting by the hour is in these prices only as far as the"
        " catalogue spreads it over tokens. Negative savings are money that better answers cost."
    )
    table = table_of("savings", ("position of the dial", *numbers), rows, numbers=numbers)
    return Section("savings", "What it saves", (figures, table, Paragraph(text)))


def _monthly(per_query_usd: float, queries: float) -> Cell:
    """The page writes the text, for the volume that stands in it; this is the one for its first showing."""
    return Cell(money(per_query_usd * queries), per_query_usd, per_query_usd)
