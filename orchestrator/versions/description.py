"""What MLflow's pages say of a router version: in Markdown, and in a few figures under names that stay."""

from __future__ import annotations

from orchestrator.evaluation.report import EvaluationReport, Measure
from orchestrator.policy import Orchestrator

REGISTERED = (
    "Routers of this home: each names the expert that should answer a query. `champion` is the version that "
    "is served, `challenger` the last one that waits for its test.\n\n"
    "Python: `mlflow.pyfunc.load_model('models:/leeroo-router@champion').predict(['What is 2 + 2?'])`. "
    "Terminal: `leeroo versions`, `leeroo report`."
)


def headline(report: EvaluationReport, policy: str) -> dict[str, float]:
    """A policy beside the best single expert, with no budget pressure, whatever the policy is called."""
    ours, single = report.row(policy).measures, report.row("best single").measures
    return {
        "accuracy": ours["accuracy"].value,
        "usd_per_1k": 1000 * ours["cost_usd"].value,
        "best_single_accuracy": single["accuracy"].value,
        "best_single_usd_per_1k": 1000 * single["cost_usd"].value,
    }


def describe_version(orchestrator: Orchestrator, report: EvaluationReport | None) -> str:
    """Markdown for a version's page: what it routes over, what it is worth, and its presets."""
    info = orchestrator.info
    sources = ", ".join(info.get("sources", [])) or "the warehouse"
    parts = [
        f"**{info.get('predictor', 'router')}** over {len(orchestrator.experts)} experts, trained on "
        f"{info.get('questions', 0):,} questions from {sources}.",
        "Experts: " + ", ".join(f"`{name}`" for name in orchestrator.experts) + ".",
    ]
    if report is None:
        parts.append("Too few questions were answered by every expert to evaluate it.")
    else:
        parts.append(
            f"On {report.questions:,} held-out questions ({report.settings.get('seeds', '?')} splits), "
            f"without budget pressure, with 95% intervals; the best single expert is `{report.best_single}`:"
        )
        lines = ["| policy | accuracy | USD per 1,000 queries |", "| --- | --- | --- |"]
        lines += [
            f"| {row.name} | {_points(row.measures['accuracy'])} | {_usd_per_1k(row.measures['cost_usd'])} |"
            for row in report.rows
        ]
        parts.append("\n".join(lines))
    if table := _presets(orchestrator):
        parts.append(table)
    return "\n\n".join(parts)


def _presets(orchestrator: Orchestrator) -> str:
    lines = [
        f"| {name} | {preset.multiplier:.4g} | {1000 * preset.expected.cost_usd:.3g} | "
        f"{preset.expected.success:.3f} |"
        for name, preset in orchestrator.presets.items()
        if preset.expected is not None
    ]
    head = [
        "| preset | multiplier | expected USD per 1,000 | expected success |",
        "| --- | --- | --- | --- |",
    ]
    said = "The presets, and what is expected with each on queries like those learned from:\n\n"
    return said + "\n".join(head + lines) if lines else ""


def _points(measure: Measure) -> str:
    return f"{measure.value:.4f} [{measure.low:.4f}, {measure.high:.4f}]"


def _usd_per_1k(measure: Measure) -> str:
    return f"{1000 * measure.value:.3g}"
