"""Who answers this query: embeddings, predictors, selection under a budget, evaluation and versions."""

from orchestrator.evaluation.evaluate import evaluate_router
from orchestrator.evaluation.report import EvaluationReport
from orchestrator.policy import Decision, Orchestrator
from orchestrator.predictors.base import Prediction, Predictor
from orchestrator.predictors.cost import CostPredictor
from orchestrator.predictors.knn import KnnPredictor
from orchestrator.selection.selector import BatchSelection, select_at_multiplier, select_batch
from orchestrator.text.embedding import Embedder, load_embedder
from orchestrator.text.queries import Examples, Queries, read_queries
from orchestrator.train import TrainedRouter, train_router
from orchestrator.versions.mlflow_registry import (
    load_champion,
    load_version,
    log_version,
    rollback,
    set_champion,
    versions,
)

__all__ = [
    "BatchSelection",
    "CostPredictor",
    "Decision",
    "Embedder",
    "EvaluationReport",
    "Examples",
    "KnnPredictor",
    "Orchestrator",
    "Prediction",
    "Predictor",
    "Queries",
    "TrainedRouter",
    "evaluate_router",
    "load_champion",
    "load_embedder",
    "load_version",
    "log_version",
    "read_queries",
    "rollback",
    "select_at_multiplier",
    "select_batch",
    "set_champion",
    "train_router",
    "versions",
]
