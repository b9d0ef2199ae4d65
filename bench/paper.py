"""The page that sets each claim of the paper beside what we measure: ``python -m bench.paper [RECORDED]``.

Runs the routing benchmark on three pools (what was measured with these settings is kept) and writes
``docs/cost-accuracy.svg``, the tables of ``docs/explanation/paper.md`` and the figures of ``README.md``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.routing_data import Pool, add_recorded_argument, read_pools
from bench.routing_pools import ROUTER, compare_pools
from orchestrator.evaluation.asking_rows import LEEROO, MATCHED, SINGLES, VOTE
from orchestrator.evaluation.figures import draw_cost_accuracy
from orchestrator.evaluation.report import Measure, PolicyRow
from warehouse import LeerooError

ROOT = Path(__file__).parents[1]
FIGURE = ROOT / "docs/cost-accuracy.svg"
PAGE, README = ROOT / "docs/explanation/paper.md", ROOT / "README.md"
DRAWN = "A"  # the pool of the figure
POOLS = {
    "A": "MMLU, ten models with GPT-4, Claude 3 Opus and Gemini 1.5 Pro",
    "B": "MMLU, GPT-4, Llama 3 70B and two Mixtrals",
    "C": "MMLU-Pro, twelve open models of 3.8B to 47B",
}
#: A claim, the pool that comes nearest to its own, the share of the best single expert's price, by how much
#: it has to be better, as a share, and how far below still counts as level.
CLAIMS = (
    ("As good as Mixtral at two thirds of its cost, from open models of 7B to 34B", "C", "0.75", 0.0, 0.0),
    ("More than 5% better than Mixtral at the same cost (75.9%)", "C", "1", 0.05, 0.0),
    ("Nearly GPT-4's accuracy at half of its cost", "B", "0.5", 0.0, 0.01),
    ("Better than GPT-4 at 25% less cost", "B", "0.75", 0.0, 0.0),
    ("The same with newer experts: the best one's accuracy at half of its cost", "A", "0.5", 0.0, 0.0),
)
TITLES = {
    LEEROO: "Leeroo (this project)",
    "best single": "best single expert",
    SINGLES: "blind mixing",
    "zero-router": "blind mixing",
    VOTE: "blind voting",
    "knn": "kNN router",
    "ridge": "ridge router",
}


@dataclass(frozen=True)
class Measured:
    """What the benchmark found on one pool."""

    pool: str
    questions: int
    best_single: str
    rows: dict[str, PolicyRow]
    differences: dict[str, list[float]]  # ours less another, in points: value, low, high

    def at(self, name: str, measure: str) -> Measure:
        """One figure of one policy."""
        return self.rows[name].measures[measure]


def main() -> None:
    """Measure, and write the figure, the page and the README's figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_recorded_argument(parser)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--replicates", type=int, default=500, help="bootstrap samples")
    parser.add_argument("--questions", type=int, help="of each pool at most, drawn at random; all by default")
    parser.add_argument("--single", action="store_true", help="one expert a query: no replay of several")
    parser.add_argument("--pools", default="ABC", help="of A, B and C; A has the figure")
    parser.add_argument("--embedder", default="wordllama")
    parser.add_argument("--predictors", default="knn,ridge,stack")
    parser.add_argument("--cache", type=Path, default=Path(".leeroo/cache/embeddings"))
    parser.add_argument("--out", type=Path, default=Path(".leeroo/bench/paper"))
    arguments = parser.parse_args()
    arguments.resume, arguments.cascades = True, False
    try:
        pools: dict[str, Pool] = read_pools(arguments.recorded)
    except LeerooError as error:
        sys.exit(str(error))
    compare_pools(arguments, [pools[name] for name in arguments.pools], Console(width=170))
    measured = {name: read_measured(arguments.out / name) for name in arguments.pools}
    FIGURE.write_text(draw(measured[DRAWN]), encoding="utf-8")
    drawn = f"{arguments.questions:,} questions of each pool, " if arguments.questions else ""
    asked = "one expert a query, " if arguments.single else ""
    settings = f"{drawn}{asked}{arguments.seeds} splits, embedder `{arguments.embedder}`"
    write_between(PAGE, "claims", render_claims(measured, settings))
    write_between(README, "measured", render_summary(measured))
    print(f"wrote {FIGURE.name}, {PAGE.name} and the figures of {README.name}")


def read_measured(folder: Path) -> Measured:
    """Read what the benchmark kept of a pool."""
    report = json.loads((folder / "evaluation.json").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    rows = {row["name"]: as_row(row) for row in report["rows"]}
    ours = LEEROO if LEEROO in rows else ROUTER
    rows = {name: row for name, row in rows.items() if name != ours} | {
        LEEROO: replace(rows[ours], name=LEEROO)
    }
    differences = {key: found for key, found in summary["ours"][ours].items() if isinstance(found, list)}
    return Measured(summary["pool"], report["questions"], report["best_single"], rows, differences)


def as_row(row: dict[str, Any]) -> PolicyRow:
    """Return a row of evaluation.json as the figures take it."""
    measures = {
        name: Measure(
            *(float("nan") if one[key] is None else one[key] for key in ("value", "low", "high", "seed_std"))
        )
        for name, one in row["measures"].items()
    }
    curve = np.array(row["curve"], float)
    return PolicyRow(row["name"], measures, row["share"], row["accuracy_by_domain"], curve)


def draw(measured: Measured) -> str:
    """Return the figure as SVG: on white, so that it is read on dark pages too."""
    import io

    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "leeroo", "font.family": "sans-serif"}
    figure = Figure(figsize=(8, 4.4), layout="constrained", facecolor="white")
    FigureCanvasSVG(figure)
    blind = SINGLES if SINGLES in measured.rows else "zero-router"
    left_out = {SINGLES, "zero-router"} - {blind}
    rows = [thin(measured.rows[name]) for name in TITLES if name in measured.rows and name not in left_out]
    draw_cost_accuracy(rows, figure.subplots(), titles=TITLES)
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = re.sub(r" +$", "", out.getvalue().decode(), flags=re.MULTILINE)
    told = f"Cost against accuracy on {POOLS[measured.pool]}: the router, the best single expert, and rivals"
    return text.replace("<svg ", f'<svg role="img" aria-label="{told}" ', 1)


def thin(row: PolicyRow, most: int = 60) -> PolicyRow:
    """Return the row with at most so many points on its curve, along the cost: a figure shows no more."""
    curve = row.curve[np.argsort(row.curve[:, 0])]
    if len(curve) > most:
        curve = curve[np.unique(np.linspace(0, len(curve) - 1, most).astype(int))]
    return PolicyRow(row.name, row.measures, row.share, row.accuracy_by_domain, curve)


def cost_to_match(measured: Measured, name: str = LEEROO) -> float:
    """Return the share of the best single expert's cost that buys its accuracy; NaN where none does."""
    return measured.at(name, "qnc").value


def render_summary(measured: dict[str, Measured]) -> str:
    """Return what the README says beside the figure."""
    a = measured[DRAWN]
    ours, half = a.at(LEEROO, "accuracy"), a.at(LEEROO, "accuracy@0.5")
    single = a.at("best single", "accuracy")
    shares = ("0.25", "0.5", "0.75", "1")
    level = [share for share in shares if a.at(LEEROO, f"accuracy@{share}").value >= single.value]
    saved = f"costs **{1 - float(level[0]):.0%} less**" if level else "does not reach it at any price"
    return (
        "![Cost against accuracy: the router, the best single expert, rivals](docs/cost-accuracy.svg)\n\n"
        f"**What it saves.** On {POOLS[DRAWN]} (recorded answers to {a.questions:,} questions that the"
        " router did not learn from), always asking the best single expert is right on"
        f" {spread(single)}. The router, as accurate, {saved}. At half of that expert's price it is right on"
        f" {spread(half)}, and with no budget pressure on {spread(ours)}:"
        f" {points(a.differences['best single'])} points, paired. Brackets are 95% intervals; settings"
        " were chosen on other questions. [Each claim of the paper beside what we"
        " measure](docs/explanation/paper.md), pools on which routing gains little included.\n"
    )


def spread(measure: Measure) -> str:
    """Return a share as a percentage with its interval."""
    return f"{percent(measure)} [{percent_of(measure.low)}, {percent_of(measure.high)}]"


def render_claims(measured: dict[str, Measured], settings: str) -> str:
    """Return the claims, each beside our figures, and the table behind them."""
    lines = [
        f"Measured on recorded answers ({settings}); 95% intervals by bootstrap over questions.\n",
        "| claim of the paper (on MMLU) | what we measure | holds here? |",
        "| --- | --- | --- |",
        *(
            claim(told, measured[pool], share, more, slack)
            for told, pool, share, more, slack in CLAIMS
            if pool in measured
        ),
        "\n| pool | best single expert | ours: 25% of its price | 50% | 75% | 100% |"
        " no pressure, less best single | area less blind mixing | less matched random | cost to match |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in measured.values():
        budgets = " | ".join(
            percent(one.at(LEEROO, f"accuracy@{share}")) for share in ("0.25", "0.5", "0.75", "1")
        )
        gained = " | ".join(
            points(one.differences[key]) if key in one.differences else "-"
            for key in ("best single", "zero-router", "matched")
        )
        lines.append(
            f"| {one.pool}: {POOLS[one.pool]} | {percent(one.at('best single', 'accuracy'))} | {budgets} |"
            f" {gained} | {share_of(cost_to_match(one))} |"
        )
    lines += [
        "\nOthers on the same questions, accuracy at 50% and at 100% of the best single expert's price:\n",
        "| pool | " + " | ".join(TITLES.get(name, name) for name in rivals(measured[DRAWN])) + " |",
        "| --- |" + " --- |" * len(rivals(measured[DRAWN])),
    ]
    names = rivals(measured[DRAWN])
    for one in measured.values():
        cells = [
            f"{percent(one.at(name, 'accuracy@0.5'))}, {percent(one.at(name, 'accuracy@1'))}"
            if name in one.rows
            else "-"
            for name in names
        ]
        lines.append(f"| {one.pool} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def rivals(measured: Measured) -> list[str]:
    """The rows that are set beside ours."""
    return [
        name
        for name in (LEEROO, "knn", "ridge", VOTE, SINGLES, "zero-router", MATCHED)
        if name in measured.rows
    ]


def claim(told: str, one: Measured, share: str, more: float, slack: float) -> str:
    """Return a row: a claim, and our accuracy at a share of the best single expert's price beside its own."""
    ours, single = one.at(LEEROO, f"accuracy@{share}"), one.at("best single", "accuracy")
    gained = ours.value / single.value - 1
    wanted = single.value * (1 + more) - slack
    if ours.value < wanted:
        verdict = "no"
    elif ours.low > single.high:
        verdict = "yes, by clear intervals"
    else:
        verdict = "yes; the intervals of the two overlap"
    found = (
        f"pool {one.pool}: {percent(ours)} [{percent_of(ours.low)}, {percent_of(ours.high)}] at"
        f" {float(share):.0%} of the price of {short(one.best_single)}, which has {percent(single)}"
        f" ({gained:+.1%})"
    )
    return f"| {told} | {found} | {verdict} |"


def short(expert: str) -> str:
    """Return an expert's name without the folder that it was recorded in."""
    return re.split(r"[/:]", expert)[-1].split("_", 1)[-1]


def percent(measure: Measure) -> str:
    """Return a share as a percentage."""
    return percent_of(measure.value)


def percent_of(value: float) -> str:
    """Return a number as a percentage, a dash where there is none."""
    return "-" if not np.isfinite(value) else f"{100 * value:.1f}%"


def share_of(value: float) -> str:
    """Return a share of a cost; words where it is never reached."""
    return f"{value:.0%} of its price" if np.isfinite(value) else "never"


def points(difference: list[float]) -> str:
    """Return a difference in points with its interval."""
    value, low, high = difference
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def write_between(path: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->`` in a page."""
    page = path.read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{start}\n{text}{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
