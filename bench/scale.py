"""What size costs: ``python -m bench.scale`` prints tables of appends, queries, decisions and training,
and draws them.

Every size runs in a process of its own, so that its peak memory is its own. Rows are made in parts. What lies
on the disk is told, and removed at the end. ``--rows 0,1e4 --answers 1e4 --questions 1e3,1e4 --trained
1e3`` takes seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

#: What is measured, by the module that does it.
PARTS = {
    "append": "bench.scale_tables",
    "outcomes": "bench.scale_tables",
    "decide": "bench.scale_decisions",
    "train": "bench.scale_training",
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="0,1e6,1e7", help="sizes of the table that is appended to")
    parser.add_argument("--answers", default="1e8", help="answers that are summed up and read")
    parser.add_argument("--questions", default="1e4,1e5,1e6", help="questions in a router's memory")
    parser.add_argument(
        "--trained", default="1e4,1e5,1e6", help="questions that a whole router is trained on"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--folder", type=Path, help="where tables are made; the machine's temporary one")
    parser.add_argument("--out", type=Path, default=Path(".leeroo/bench/scale"))
    chosen = parser.parse_args(arguments)
    console = Console(width=120)
    sizes = {
        "append": chosen.rows,
        "outcomes": chosen.answers,
        "decide": chosen.questions,
        "train": chosen.trained,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    for part in chosen.parts.split(","):
        found = [measure(part, int(float(size)), chosen.folder) for size in sizes[part].split(",")]
        console.print(show(part, found))
        (chosen.out / f"{part}.json").write_text(json.dumps(found, indent=1) + "\n")
        draw(part, found, chosen.out / f"{part}.svg")
    console.print(f"figures and curves: {chosen.out}")


def measure(part: str, size: int, folder: Path | None) -> dict[str, float]:
    """Measure one size in a process of its own, in a folder that goes with it."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        done = subprocess.run(
            [sys.executable, "-m", PARTS[part], part, str(size), place],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"size": size, **found}


def show(part: str, found: Sequence[dict[str, float]]) -> Table:
    table = Table(*found[0], title=part)
    for row in found:
        table.add_row(*(f"{value:,.4g}" if value < 1000 else f"{value:,.0f}" for value in row.values()))
    return table


def draw(part: str, found: Sequence[dict[str, float]], path: Path) -> None:
    """Draw the growth of each figure over the size, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for name in found[0]:
        if name.endswith(("_ms", "_s", "_mib")):
            axes.plot([max(row["size"], 1) for row in found], [row[name] for row in found], "o-", label=name)
    axes.set(xscale="log", yscale="log", xlabel="rows, answers or questions", title=part)
    axes.legend(fontsize="small")
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    main()
