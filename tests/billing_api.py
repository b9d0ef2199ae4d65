"""An API that keeps the books an operator is billed by: every call, whatever became of its answer."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.scripted_api import ChatHandler, completion, serve_chat

WRITTEN = 3  # tokens of an answer


class Books:
    """What was asked and what it comes to, in tokens by model; the API knows no idempotency keys.

    Attributes:
        attempts: calls by idempotency key.
        tokens: billed, by model: those of whole answers, and of calls that failed, were cut or left.
        faults: calls that came to nothing by the API's own fault.
        asked: set at the first call.
    """

    def __init__(self) -> None:
        self.attempts = Counter[str]()
        self.tokens = Counter[str]()
        self.faults = Counter[str]()
        self.asked = threading.Event()
        self.lock = threading.Lock()

    def clear(self) -> None:
        for counter in (self.attempts, self.tokens, self.faults):
            counter.clear()
        self.asked.clear()

    def calls(self) -> int:
        with self.lock:
            return sum(self.attempts.values())

    def again(self, wanted: int) -> int:
        """Calls beyond one for each of the answers wanted, without those that the API's faults called for."""
        return self.calls() - wanted - sum(self.faults.values())


def wait_for_calls(books: Books, count: int, driver: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until so many calls have come, or the driver has ended; its log is shown if neither happens."""
    deadline = time.monotonic() + 300
    while books.calls() < count and driver.poll() is None:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


@contextmanager
def serve_billing(
    answer: Callable[[str, str], str], *, fault_rate: float = 0.0, seed: int = 0, host: str = "127.0.0.1"
) -> Iterator[tuple[str, Books]]:
    """Serve ``answer(model, prompt)`` after a little while; yields the base URL and the books.

    A share of the calls is worked on and billed, and then fails: with a 500, or by a cut connection.
    """
    books, luck = Books(), random.Random(seed)

    class Handler(ChatHandler):
        def act(self, body: dict[str, Any]) -> None:
            prompt, model = body["messages"][0]["content"], body["model"]
            with books.lock:
                books.attempts[self.headers["idempotency-key"]] += 1
                books.tokens[model] += len(prompt) + WRITTEN
                fault = luck.choice(("failed", "cut")) if luck.random() < fault_rate else None
                if fault:
                    books.faults[fault] += 1
                wait_s = 0.02 + 0.06 * luck.random()
            books.asked.set()
            time.sleep(wait_s)
            if fault == "failed":
                self.send(500, "{}")
            elif fault == "cut":
                self.cut()
            else:
                self.reply(completion(answer(model, prompt), model, tokens=(len(prompt), WRITTEN)))

    with serve_chat(Handler, host) as url:
        yield url, books
