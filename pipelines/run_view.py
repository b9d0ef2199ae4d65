"""The view on which MLflow's pages open: the rounds, with the figures that tell them apart.

MLflow's pages show no figure until columns are picked. A view that a person shares from them is a tag of the
experiment; this one is written the same way.
"""

from __future__ import annotations

import json

from warehouse.mlflow_runs import EXPERIMENT, NOTE_TAG, client_of
from warehouse.mlflow_store import open_store

VIEW = "leeroo"
#: Figures of rounds and of what is inside them, by the names that they are logged under.
COLUMNS = (
    *("accuracy", "best_single_accuracy", "usd_per_1k", "best_single_usd_per_1k"),
    *("cost_usd", "difference"),
)
NOTE = (
    "Rounds of self-play, each with the universe chosen in it, the router trained and the gaps found; below "
    "them what single commands did. `accuracy`: of the trained router on held-out questions, no budget "
    "pressure; `usd_per_1k`: what 1,000 queries cost with it; `best_single_...`: the same of the best single "
    "expert; `cost_usd`: the bill; `difference`: accuracy at fixed cost that the round bought."
)


def settle_view(tracking_uri: str) -> str:
    """Write the view of a store's runs as they are now; return the path of its page, empty without runs.

    A store that cannot be written to is looked at as it is.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    open_store(tracking_uri)
    client = client_of(tracking_uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return ""
    page = f"/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    state = {"selectedColumns": [f"metrics.`{name}`" for name in COLUMNS]}
    try:
        for key, value in (
            ("mlflow.experimentKind", "custom_model_development"),  # pages of training runs, not of prompts
            (NOTE_TAG, NOTE),
            (f"mlflow.sharedViewState.{VIEW}", json.dumps(state)),
        ):
            client.set_experiment_tag(experiment.experiment_id, key, value)
    except (MlflowException, SQLAlchemyError):
        return page
    return f"{page}&viewStateShareKey={VIEW}"
