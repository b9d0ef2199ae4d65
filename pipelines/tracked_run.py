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
        params: logged when the run is new.
        resume: the id of a run to go on with, where the store knows it.
    """
    with open_run(home.mlflow_uri, EXPERIMENT, name, params=params, resume=resume) as run:
        yield run.id
