"""The choice of the expert for a query: embeddings, predictors, budgeted selection, evaluation, versions.

A name is looked up where it is defined when it is first used, so that importing the package loads neither
torch, nor Ray, nor MLflow. ``__init__.pyi`` tells type checkers the same.
"""

from __future__ import annotations

from typing import Any

_HOME = {
    "BatchSelection": "selection.selector",
    "CostPredictor": "predictors.cost",
    "Decision": "policy",
    "Embedder": "text.embedder",
    "EvaluationReport": "evaluation.report",
    "Examples": "text.queries",
    "KnnPredictor": "predictors.knn",
    "Orchestrator": "policy",
    "Prediction": "predictors.base",
    "Predictor": "predictors.base",
    "Queries": "text.queries",
    "TrainedRouter": "train",
    "evaluate_router": "evaluation.evaluate",
    "load_champion": "versions.mlflow_registry",
    "load_embedder": "text.registry",
    "load_version": "versions.mlflow_registry",
    "log_version": "versions.mlflow_registry",
    "read_queries": "text.queries",
    "rollback": "versions.mlflow_registry",
    "select_at_multiplier": "selection.selector",
    "select_batch": "selection.selector",
    "set_champion": "versions.mlflow_registry",
    "train_router": "train",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"orchestrator.{_HOME[name]}"), name)
    raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
