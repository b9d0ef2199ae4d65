"""Recording: what may be kept of a request is written down before its answer is given out."""

from __future__ import annotations

import functools
import logging

from serve.config import ServeConfig
from serve.ledger.messages import Caller, TrafficRecord
from serve.ledger.traffic.spool import SPOOL_FOLDER, Spool
from serve.request.in_flight import CompletionRequest, InFlight
from serve.request.recording.records import Ending, traffic_records
from serve.request.recording.texts import TextKeeper, texts_of
from serve.wire.recording import Recording, strictest
from warehouse.traffic.hashing import TRAFFIC_FOLDER, Kind, keyed_hash, read_hash_key

logger = logging.getLogger("ray.serve")


def recording_of(config: ServeConfig, caller: Caller, request: CompletionRequest) -> Recording:
    """Return what may be kept of a request: as the strictest of endpoint, key and request has it."""
    return strictest(config.record, caller.record, None if request.may_be_kept else "none")


class Recorder:
    """Makes the rows of the traffic, and holds on to them until the ledger has them.

    Args:
        config: says what is recorded, and where the home is.
        owner: names this process among those of the home.
        keep_text: takes the words where they may be kept; without it they never are.
    """

    def __init__(self, config: ServeConfig, owner: str, keep_text: TextKeeper | None = None) -> None:
        self._config, self._keep_text = config, keep_text
        self._versions: dict[str, str] = {}
        self._spool = Spool(config.home / TRAFFIC_FOLDER / SPOOL_FOLDER, owner)

    def recording_of(self, job: InFlight) -> Recording:
        """Return what may be kept of a request here."""
        recording = recording_of(self._config, job.caller, job.request)
        return recording if self._keep_text is not None else strictest(recording, "features")

    def record(self, job: InFlight, ending: Ending) -> tuple[TrafficRecord, ...]:
        """Write down what may be kept of an answer; return its rows. Nothing here can fail the answer."""
        recording = self.recording_of(job)
        if recording == "none":
            return ()
        try:
            records = traffic_records(job, ending, recording, self._hash, self._version_of(ending))
            if recording == "texts" and self._keep_text is not None:
                user_hash = self._hash("user", job.request.user) if job.request.user else None
                self._keep_text(texts_of(job, ending.answered.expert.spec.name, ending.text, user_hash))
        except Exception as error:  # its message may hold a text
            logger.error("%s: cannot be recorded (%s)", job.request_id, type(error).__name__)
            return ()
        self._spool.keep(job.request_id, records)
        return records

    def settled(self, request_id: str) -> None:
        """Let go of a request's rows: the ledger has them."""
        self._spool.settled(request_id)

    def _version_of(self, ending: Ending) -> str:
        spec = ending.answered.expert.spec
        if spec.name not in self._versions:  # a hash over all of its settings: once is enough
            self._versions[spec.name] = spec.version
        return self._versions[spec.name]

    def _hash(self, kind: Kind, content: str) -> str:
        return keyed_hash(self._key, kind, content)

    @functools.cached_property
    def _key(self) -> bytes:
        return read_hash_key(self._config.home)
