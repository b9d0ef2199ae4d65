"""Who answers this query: embeddings, predictors, selection under a budget, evaluation and versions."""

from orchestrator.cost import CostPredictor
from orchestrator.embedding import Embedder, load_embedder
from orchestrator.evaluate import evaluate_router
from orchestrator.knn import KnnPredictor
from orchestrator.policy import Decision, Orchestrator
from orchestrator.predictor import Prediction, Predictor
from orchestrator.queries import Examples, Queries, read_queries
from orchestrator.registry import load_champion, load_version, log_version, rollback, set_champion, versions
from orchestrator.report import EvaluationReport
from orchestrator.selector import BatchSelection, select_at_multiplier, select_batch
from orchestrator.train import TrainedRouter, train_router

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
