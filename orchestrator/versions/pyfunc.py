"""The orchestrator as an MLflow model from code: MLflow runs this file instead of unpickling an object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from orchestrator.policy import Orchestrator


class OrchestratorModel(PythonModel):  # type: ignore[misc]
    """Reads a table's first column, which MLflow makes of a list of texts too.

    Returns expert, fallbacks, expected success and cost, and the reason.
    """

    def load_context(self, context: Any) -> None:
        """Load the orchestrator that lies among the model's artifacts."""
        self._orchestrator = Orchestrator.load(Path(context.artifacts["orchestrator"]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Decide for each row; the parameter ``multiplier`` (below 0: the default) prices cost."""
        multiplier = float((params or {}).get("multiplier", -1.0))
        decisions = self._orchestrator.decide(
            model_input.iloc[:, 0].tolist(), multiplier=multiplier if multiplier >= 0 else None
        )
        return pd.DataFrame(
            {
                "expert": [d.expert for d in decisions],
                "fallbacks": [",".join(d.fallbacks) for d in decisions],
                "success": [d.success[d.expert] for d in decisions],
                "cost_usd": [d.cost_usd[d.expert] for d in decisions],
                "reason": [d.reason for d in decisions],
            }
        )


mlflow.models.set_model(OrchestratorModel())
