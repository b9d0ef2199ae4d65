"""Traces of requests in MLflow's store, which go when what was recorded of their requests goes.

What went to other receivers is theirs: nothing here reaches it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from warehouse.mlflow_places import sqlite_path
from warehouse.mlflow_runs import EXPERIMENT, client_of
from warehouse.mlflow_store import open_store
from warehouse.traffic.selection import Selection

#: Tags of a trace: what it is found by, the trace of its caller if that had one, and whether it has words.
REQUEST_TAG, KEY_TAG, WORDS_TAG = "leeroo.request_id", "leeroo.key_id", "leeroo.holds_words"
CALLER_TAG = "leeroo.caller_trace"
_PAGE = 500
_DELETED_AT_ONCE = 100
_LOCKED_S = 10.0


def forget_traces(tracking_uri: str, selection: Selection, request_ids: Collection[str]) -> int:
    """Delete the traces of requests that are meant; return how many there were.

    Args:
        tracking_uri: of MLflow's store.
        selection: which requests; a trace does not say which user's its request was.
        request_ids: those that are known to be meant.
    """

    def is_meant(info: Any) -> bool:
        told = {
            "request_id": info.tags.get(REQUEST_TAG, ""),
            "key_id": info.tags.get(KEY_TAG),
            "created_at": datetime.fromtimestamp(info.timestamp_ms / 1e3, UTC),
        }
        is_selected = selection.user_hash is None and selection.holds(told)
        return is_selected or told["request_id"] in request_ids

    return _delete(tracking_uri, None, is_meant)


def expire_traces(tracking_uri: str, before: datetime) -> int:
    """Delete the traces that hold words and are older than a moment; return how many there were."""
    moment_ms = round(before.timestamp() * 1e3)
    wanted = f"tag.`{WORDS_TAG}` = 'true' AND timestamp_ms < {moment_ms}"
    return _delete(tracking_uri, wanted, lambda info: info.timestamp_ms < moment_ms)


def _delete(tracking_uri: str, wanted: str | None, is_meant: Callable[[Any], bool]) -> int:
    path = sqlite_path(tracking_uri)
    if path is not None and not _has_traces(str(path)):
        return 0  # MLflow takes seconds to load
    open_store(tracking_uri)
    client = client_of(tracking_uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return 0
    found = [info.trace_id for info in _infos(client, experiment.experiment_id, wanted) if is_meant(info)]
    for start in range(0, len(found), _DELETED_AT_ONCE):
        client.delete_traces(experiment.experiment_id, trace_ids=found[start : start + _DELETED_AT_ONCE])
    if found and path is not None:
        _compact(str(path))
    return len(found)


def _infos(client: Any, experiment_id: str, wanted: str | None) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_traces(
            locations=[experiment_id],
            filter_string=wanted,
            max_results=_PAGE,
            page_token=token,
            include_spans=False,
        )
        yield from (trace.info for trace in page)
        if not (token := page.token):
            return


def _has_traces(path: str) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("select 1 from trace_info limit 1").fetchall())
    except sqlite3.Error:  # no file, or no tables
        return False


def _compact(path: str) -> None:
    """Write the database anew, without the bytes of what was deleted; left out while others write to it."""
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(path, timeout=_LOCKED_S)) as connection,
    ):
        connection.execute("vacuum")
