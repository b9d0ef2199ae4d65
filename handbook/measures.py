"""Reference of figures: those that Prometheus scrapes, and the measures of an evaluation."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path

from prometheus_client.registry import CollectorRegistry

from handbook.table import code, table


def render_metrics() -> str:
    """Return the page, from the collectors and the functions that compute the measures."""
    from orchestrator.evaluation import metrics
    from orchestrator.evaluation.measures import measure_seed
    from serve.ledger.traffic.drift_figures import KNOWN

    parts = [
        "# Metrics\n",
        "## Of a running endpoint\n",
        "At `/metrics`, for Prometheus. Counters end in `_total`.\n",
        table(("metric", "kind", "labels", "what it counts"), sorted(endpoint_metrics())),
        "\nFrom the last `leeroo traffic report`:\n",
        table(("metric", "labels", "what it is"), [
            (code(name), ", ".join(map(code, labels)), told) for name, (told, labels) in KNOWN.items()
        ]),
        "\n## Of an evaluation\n",
        "`leeroo evaluate` writes them to `evaluation.json` and to MLflow, each with a 95% interval.\n",
        f"{_returned(measure_seed)}\n",
        "### How each is computed\n",
    ]  # fmt: skip
    for name, function in inspect.getmembers(metrics, inspect.isfunction):
        if function.__module__ == metrics.__name__ and not name.startswith("_") and function.__doc__:
            told = inspect.cleandoc(function.__doc__).split("\n\nArgs:")[0].split("\n\nReturns:")[0]
            parts.append(f"#### `{name}{inspect.signature(function)}`\n\n{told}\n".replace("``", "`"))
    return "\n".join(parts)


def endpoint_metrics() -> list[tuple[str, str, str, str]]:
    """Return name, kind, labels and help of what the endpoint counts."""
    from serve.ledger.prometheus import Metrics

    found = []
    with tempfile.TemporaryDirectory() as empty:
        for registry in (own for own in vars(Metrics(*_others(Path(empty)))).values()
                         if isinstance(own, CollectorRegistry)):  # fmt: skip
            for collector in list(registry._collector_to_names):
                for family in collector.collect():
                    labels = ", ".join(map(code, getattr(collector, "_labelnames", ())))
                    found.append((code(family.name), family.type, labels, family.documentation))
    return found


def _others(home: Path) -> list[object]:
    from serve.ledger.traffic.drift_figures import DriftFigures

    return [DriftFigures(home)]


def _returned(function: object) -> str:
    """What a function's docstring says of its result."""
    told = inspect.getdoc(function) or ""
    return " ".join(told.split("Returns:")[-1].split()).replace("``", "`")
