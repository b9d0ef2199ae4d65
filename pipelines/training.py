"""Train a router on a pool's outcomes, judge it, and keep it in MLflow as a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.home import Home
from pipelines.report import console, print_line
from warehouse import Outcomes

if TYPE_CHECKING:
    from orchestrator.report import EvaluationReport


@dataclass(frozen=True)
class TrainingResult:
    """A registered router version, what it was found to be worth, and whether it is the one in charge."""

    version: str
    standing: str  # champion | challenger
    report: EvaluationReport


def train_version(
    outcomes: Outcomes, home: Home, *, predictor: str, embedder: str, seeds: int = 5, seed: int = 0
) -> TrainingResult:
    """Evaluate by cross-splits, train, and register; the first version of a home becomes champion.

    Logs to the active MLflow run where there is one. Trained again on the same data and settings, the
    champion stands as it is and no new version is made.
    """
    from orchestrator.evaluate import evaluate_router
    from orchestrator.registry import champion_version, crown_first, log_version, versions
    from orchestrator.train import train_router

    report = evaluate_router(
        outcomes, predictors=(predictor,), embedder=embedder, seeds=seeds, cache_dir=home.embeddings
    )
    console.print(report.table())
    trained = train_router(
        outcomes, embedder=embedder, predictor=predictor, seed=seed, cache_dir=home.embeddings
    )
    info = trained.orchestrator.info
    champion = champion_version(home.mlflow_uri)
    standing = next((v for v in versions(home.mlflow_uri) if v.version == champion), None)
    if standing is not None and (
        (standing.training_data, standing.predictor, standing.embedder, set(standing.pool))
        == (info["training_data"], predictor, embedder, set(info["experts"]))
    ):  # fmt: skip
        print_line(f"Router version {champion} was trained on exactly these outcomes; it stays champion.")
        return TrainingResult(standing.version, "champion", report)
    version = log_version(
        trained.orchestrator,
        report,
        tracking_uri=home.mlflow_uri,
        metrics=trained.metrics,
        artifact_root=home.artifacts,
        run_name=f"train {predictor}",
    )
    if crown_first(home.mlflow_uri, version):
        return TrainingResult(version, "champion", report)
    print_line(f"Router version {version} is challenger to {champion}; `leeroo promote {version}` tests it.")
    return TrainingResult(version, "challenger", report)
