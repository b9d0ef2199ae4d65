"""A destination of spans, with a thread that exports to it; no request waits."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger("ray.serve")

MOST_WAITING = 8_192  # spans
MOST_AT_ONCE = 512
GATHERED_S = 1.0  # MLflow's store takes ten traces in the time of three single ones


class Destination:
    """Takes whole traces while there is room; counts as dropped what does not fit or cannot be exported.

    Args:
        name: the name that is shown; contains no secret.
        open_exporter: called in the thread, and again after a failure.
        most_waiting: maximum number of waiting spans.
    """

    def __init__(
        self, name: str, open_exporter: Callable[[], SpanExporter], most_waiting: int = MOST_WAITING
    ) -> None:
        self.name = name
        self.exported = self.dropped = 0
        self._open_exporter, self._most_waiting = open_exporter, most_waiting
        self._exporter: SpanExporter | None = None
        self._waiting: deque[Sequence[ReadableSpan]] = deque()
        self._spans = 0  # that wait
        self._is_busy = self._is_hurried = self._is_closed = self._fails = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name=f"traces to {name}", daemon=True).start()

    def offer(self, spans: Sequence[ReadableSpan]) -> None:
        """Take the spans of a trace, all or none."""
        with self._changed:
            if self._is_closed or self._spans + len(spans) > self._most_waiting:
                self.dropped += len(spans)
                return
            self._waiting.append(spans)
            self._spans += len(spans)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Export everything that waits, within the time limit; tell whether nothing is left."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()
            is_empty = self._changed.wait_for(lambda: not self._waiting and not self._is_busy, timeout_s)
            self._is_hurried = False
            return is_empty

    def close(self) -> None:
        """Take no more spans. An export under way may finish; waiting spans are dropped."""
        with self._changed:
            self._is_closed = True
            self.dropped += self._spans
            self._waiting.clear()
            self._spans = 0
            self._changed.notify_all()
        if self._exporter is not None:
            self._exporter.shutdown()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            was_brought = self._bring(batch)
            with self._changed:
                self.exported += len(batch) if was_brought else 0
                self.dropped += 0 if was_brought else len(batch)
                self._is_busy = False
                self._changed.notify_all()

    def _next(self) -> list[ReadableSpan] | None:
        """Wait for spans, and a little for more; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            self._changed.wait_for(
                lambda: self._is_hurried or self._is_closed or self._spans >= MOST_AT_ONCE, GATHERED_S
            )
            if self._is_closed:
                return None
            batch: list[ReadableSpan] = []
            while self._waiting and (not batch or len(batch) + len(self._waiting[0]) <= MOST_AT_ONCE):
                batch += self._waiting.popleft()
            self._spans -= len(batch)
            self._is_busy = True
            return batch

    def _bring(self, batch: Sequence[ReadableSpan]) -> bool:
        try:
            self._exporter = self._exporter or self._open_exporter()
            was_brought = self._exporter.export(batch) is SpanExportResult.SUCCESS
            told = "it was refused, or nobody answered"
        except Exception as error:  # what it says may quote a span, or an address with a key
            was_brought, told = False, type(error).__name__
        if was_brought == self._fails:  # once each time that it changes
            if self._fails:
                logger.warning("traces reach %s again", self.name)
            else:
                logger.warning("traces do not reach %s (%s): they are dropped, and counted", self.name, told)
        self._fails = not was_brought
        return was_brought
