"""The simulated year as tables within 80 columns and a figure: means over seeds with 95% intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from bench.traffic_arms import BLOCK

WINDOW = 2_000
LAST = 4_000  # requests at the end on which arms are compared
FROZEN, FULL, OURS = "frozen", "told everything", "ours"
Found = list[dict[str, Any]]  # per seed: preset -> arm -> figures


def series(found: Found, preset: str, arm: str, figure: str) -> np.ndarray:
    """Of one arm [seeds, windows]; "worth" is the value of its answers, without what learning cost."""
    blocks = np.array(
        [
            value_of(seed[preset], arm, fees=figure == "value")
            if figure in ("value", "worth")
            else seed[preset][arm][figure]
            for seed in found
        ]
    )
    per = WINDOW // BLOCK
    return blocks.reshape(len(blocks), -1, per).mean(axis=2)


def value_of(arms: dict[str, Any], arm: str, *, fees: bool = True) -> np.ndarray:
    """Success less the price of all that was paid, learning included or not."""
    own = arms[arm]
    paid = np.array(own["cost_usd"]) + fees * np.array(own["learning_usd"]) / BLOCK
    return np.array(own["accuracy"]) - arms["multiplier"] * paid


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over seeds (axis 0) and half the width of its 95% interval (Student)."""
    n = len(values)
    half = student.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / n**0.5 if n > 1 else np.nan * values[0]
    return values.mean(axis=0), half


def closed(found: Found, preset: str, arm: str, windows: slice) -> tuple[float, float, float]:
    """Share of the gap between frozen and told everything, with a bootstrap interval over seeds."""
    frozen, full, own = (
        series(found, preset, name, "value")[:, windows].mean(axis=1) for name in (FROZEN, FULL, arm)
    )
    draws = np.random.default_rng(0).integers(0, len(own), (2_000, len(own)))
    ratio = (own - frozen)[draws].mean(axis=1) / (full - frozen)[draws].mean(axis=1)
    low, high = np.percentile(ratio, [2.5, 97.5])
    return float((own - frozen).mean() / (full - frozen).mean()), float(low), float(high)


def print_tables(found: Found, presets: list[str], console: Console) -> None:
    for preset in presets:
        arms = [name for name in found[0][preset] if name != "multiplier"]
        arms = [name for name in arms if all(name in seed[preset] for seed in found)]
        console.print(summary_table(found, preset, arms))
        shown = [name for name in arms if name != FROZEN]
        console.print(window_table(found, preset, shown, "value", "all that was paid included"))
        ours = [name for name in shown if name.startswith(OURS)]
        console.print(window_table(found, preset, ours, "worth", "of the answers, without fees"))


def summary_table(found: Found, preset: str, arms: list[str]) -> Table:
    table = Table(
        "arm", "accuracy", "$ per 1k", "value", "gap closed", "in all", "learning",
        title=f"{preset}: the last {LAST:,} requests, {len(found)} seeds",
        caption="value: success less the fixed price of all that was paid; in points, beside frozen.\n"
        "in all: gap closed over the whole stream. learning: of what greedy choices cost.",
    )  # fmt: skip
    last = slice(-(LAST // WINDOW), None)
    base = series(found, preset, FROZEN, "value")[:, last].mean(axis=1)
    for arm in arms:
        accuracy, cost, value = (
            series(found, preset, arm, figure)[:, last].mean(axis=1)
            for figure in ("accuracy", "cost_usd", "value")
        )
        gain, half = interval(value - base)
        share, low, high = closed(found, preset, arm, last)
        overall, *_ = closed(found, preset, arm, slice(None))
        greedy = sum(sum(seed[preset][arm]["greedy_usd"]) for seed in found)
        learning = sum(sum(seed[preset][arm]["learning_usd"]) for seed in found)
        shown = arm not in (FROZEN, FULL)
        table.add_row(
            arm,
            f"{accuracy.mean():.3f}",
            f"{1e3 * cost.mean():.2f}",
            f"{100 * gain:+.2f} ±{100 * half:.2f}" if arm != FROZEN else f"{base.mean():.3f}",
            f"{share:.0%} [{low:.0%}, {high:.0%}]" if shown else "",
            f"{overall:.0%}" if shown else "",
            f"{learning / greedy:.1%}" if shown and greedy else "",
        )
    return table


def window_table(found: Found, preset: str, arms: list[str], figure: str, told: str) -> Table:
    table = Table(
        "requests to", *arms,
        title=f"{preset}: value beside frozen, in points, by windows of {WINDOW:,}; {told}",
        caption="95% intervals over seeds; ! where one is below 0 altogether",
    )  # fmt: skip
    base = series(found, preset, FROZEN, figure)
    columns = [interval(series(found, preset, arm, figure) - base) for arm in arms]
    for w in range(base.shape[1]):
        cells = [(float(mean[w]), float(half[w])) for mean, half in columns]
        shown = [f"{100 * m:+.1f} ±{100 * h:.1f}{'!' if m + h < 0 else ''}" for m, h in cells]
        table.add_row(f"{(w + 1) * WINDOW:,}", *shown)
    return table


def draw_year(found: Found, preset: str, path: Path) -> None:
    """Accuracy, cost and value over time, with 95% intervals over the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    main = [FROZEN, "ours, unexplored", OURS, FULL, "LinUCB", "LinTS"]
    arms = [name for name in main if all(name in seed[preset] for seed in found)]
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    titles = {
        "accuracy": "accuracy",
        "cost_usd": "cost, $ per 1,000 answers",
        "value": "value, points beside frozen",
    }
    base = series(found, preset, FROZEN, "value")
    for axis, (figure_name, title) in zip(axes, titles.items(), strict=True):
        for arm in arms:
            values = series(found, preset, arm, figure_name)
            if figure_name == "value":
                values = 100 * (values - base)
            if figure_name == "cost_usd":
                values = 1e3 * values
            mean, half = interval(values)
            at = (np.arange(len(mean)) + 0.5) * WINDOW
            (line,) = axis.plot(
                at, mean, label=arm, marker=".", linestyle="--" if arm in (FROZEN, FULL) else "-"
            )
            axis.fill_between(at, mean - half, mean + half, color=line.get_color(), alpha=0.15, linewidth=0)
        axis.set_title(title)
        axis.set_xlabel("requests served")
    axes[0].legend(fontsize=8)
    figure.suptitle(f"preset {preset}, {len(found)} seeds, 95% intervals")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
