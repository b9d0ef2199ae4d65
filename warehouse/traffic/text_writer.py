"""Texts on their way to the store: taken at once, redacted, sealed and written by a thread beside."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from warehouse.errors import LeerooError
from warehouse.traffic.texts import RecordedText, TextStore

logger = logging.getLogger("ray.serve")

MOST_WAITING_BYTES = 32 << 20
_AT_ONCE = 256  # texts
_RETRY_S = 1.0
_TELL_EVERY_S = 60.0
_NO_WORDS = ("role", "type")  # parts of a message that nobody writes

Redact = Callable[[str], str]


class TextWriter:
    """Takes texts without waiting; what it holds is bounded, and what does not fit is counted and left out.

    A text is on the device some ten milliseconds after it was given, longer where texts are redacted or the
    disk is slow: what a process that is killed held until then is lost, and only that.

    Args:
        store: where they go.
        make_redact: makes what takes personal data out of a text, before it is written anywhere; it is called
            in the thread, since it may take seconds.
    """

    def __init__(self, store: TextStore, make_redact: Callable[[], Redact] | None = None) -> None:
        self._store, self._make_redact = store, make_redact
        self._waiting: deque[tuple[int, RecordedText]] = deque()
        self._bytes = 0
        self._turn = threading.Condition()
        self._is_closing = False
        self._is_idle = True
        self._told_at = -_TELL_EVERY_S
        self.left_out = 0
        self._thread = threading.Thread(target=self._run, name="texts", daemon=True)
        self._thread.start()

    def keep(self, text: RecordedText) -> None:
        """Take a text; it is written soon."""
        size = _size_of(text)
        with self._turn:
            if self._is_closing or self._bytes + size > MOST_WAITING_BYTES:
                self.left_out += 1
                self._tell("there is no room for them")
                return
            self._waiting.append((size, text))
            self._bytes += size
            self._turn.notify_all()

    def flush(self, within_s: float = 10.0) -> bool:
        """Wait until all that was taken is written; False where the time was too short."""
        with self._turn:
            return self._turn.wait_for(lambda: not self._waiting and self._is_idle, within_s)

    def close(self, within_s: float = 10.0) -> None:
        """Write what waits, and end."""
        with self._turn:
            self._is_closing = True
            self._turn.notify_all()
        self._thread.join(within_s)
        if not self._thread.is_alive():
            self._store.close()

    def _run(self) -> None:
        redact: Redact | None = None
        while True:
            with self._turn:
                self._is_idle = True
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._waiting or self._is_closing)
                if not self._waiting:
                    return
                self._is_idle = False
                taken = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            texts = [text for _, text in taken]
            try:
                if self._make_redact is not None:
                    redact = redact or self._make_redact()
                    texts = [redacted(text, redact) for text in texts]
            except Exception as error:  # its message may hold a text
                self._leave_out(len(texts), f"they cannot be redacted ({type(error).__name__})")
            else:
                self._write(texts)
            with self._turn:
                self._bytes -= sum(size for size, _ in taken)

    def _write(self, texts: list[RecordedText]) -> None:
        while True:
            try:
                self._store.append(texts)
            except OSError as error:  # a full disk has room again some day; until then the rest waits
                self._tell(f"they cannot be written ({error.strerror})")
                if self._is_closing:
                    return self._leave_out(len(texts), "the endpoint ends")
                time.sleep(_RETRY_S)
            except LeerooError as error:
                return self._leave_out(len(texts), str(error))
            except Exception as error:
                return self._leave_out(len(texts), f"they cannot be written ({type(error).__name__})")
            else:
                return None

    def _leave_out(self, count: int, why: str) -> None:
        self.left_out += count
        self._tell(why)

    def _tell(self, why: str) -> None:
        if time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = time.monotonic()
            logger.error("texts are not kept: %s; %d were left out", why, self.left_out)


def redacted(text: RecordedText, redact: Redact) -> RecordedText:
    """Return a text without the personal data that is found in it."""
    return replace(
        text,
        prompt_messages=[_redacted(message, redact) for message in text.prompt_messages],
        answer_text=redact(text.answer_text),
        response_format=_redacted(text.response_format, redact) if text.response_format else None,
    )


def _redacted(value: Any, redact: Redact) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: part if name in _NO_WORDS else _redacted(part, redact) for name, part in value.items()}
    return [_redacted(part, redact) for part in value] if isinstance(value, list) else value


def _size_of(value: Any) -> int:
    if isinstance(value, RecordedText):
        words = value.prompt_messages, value.answer_text, value.response_format or {}
        return 200 + sum(map(_size_of, words))
    if isinstance(value, str):
        return 50 + len(value)
    if isinstance(value, dict):
        return 50 + sum(50 + _size_of(part) for part in value.values())
    return 50 + sum(map(_size_of, value)) if isinstance(value, list) else 30
