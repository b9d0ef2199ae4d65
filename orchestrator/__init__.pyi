"""What `__init__.py` finds when it is used, for type checkers."""

from orchestrator.evaluation.evaluate import evaluate_router as evaluate_router
from orchestrator.evaluation.report import EvaluationReport as EvaluationReport
from orchestrator.policy import Decision as Decision
from orchestrator.policy import Orchestrator as Orchestrator
from orchestrator.predictors.base import Prediction as Prediction
from orchestrator.predictors.base import Predictor as Predictor
from orchestrator.predictors.cost import CostPredictor as CostPredictor
from orchestrator.predictors.knn import KnnPredictor as KnnPredictor
from orchestrator.selection.selector import BatchSelection as BatchSelection
from orchestrator.selection.selector import select_at_multiplier as select_at_multiplier
from orchestrator.selection.selector import select_batch as select_batch
from orchestrator.text.embedder import Embedder as Embedder
from orchestrator.text.queries import Examples as Examples
from orchestrator.text.queries import Queries as Queries
from orchestrator.text.queries import read_queries as read_queries
from orchestrator.text.registry import load_embedder as load_embedder
from orchestrator.train import TrainedRouter as TrainedRouter
from orchestrator.train import train_router as train_router
from orchestrator.versions.mlflow_registry import load_champion as load_champion
from orchestrator.versions.mlflow_registry import load_version as load_version
from orchestrator.versions.mlflow_registry import log_version as log_version
from orchestrator.versions.mlflow_registry import rollback as rollback
from orchestrator.versions.mlflow_registry import set_champion as set_champion
