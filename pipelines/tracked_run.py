"""One MLflow run per round or training, in the home's own SQLite store unless a server is named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from warehouse.mlflow_runs import EXPERIMENT, open_run

if TYPE_CHECKING:
    from warehouse.home import Home


@contextlib.contextmanager
def tracked_run(
    home: Home, name: str, params: Mapping[str, object] | None = None, *, resume: str | None = None
) -> Iterator[str]:
    """Hold an MLflow run for as long as the block runs; give its id.

    See :func:`warehouse.mlflow_runs.open_run`.

    Args:
        home: whose MLflow store.
        name: of the run.
        params: logged if the run is new.
        resume: id of a run to continue, if the store has it.
    """
    with open_run(home.mlflow_uri, EXPERIMENT, name, params=params, resume=resume) as run:
        yield run.id
