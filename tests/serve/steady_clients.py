"""Clients that ask one thing after the other, whole and streamed in turn, and note what they were told."""

import json
import threading
import time
from dataclasses import dataclass

import httpx

UNTRACED = "00-" + "1" * 32 + "-" + "2" * 16 + "-00"


@dataclass(frozen=True)
class Told:
    """What a client was told: the status, and of an answer the expert and its cost; else why not."""

    status: int
    expert: str | None
    cost_usd: float
    why: str
    retry_after: str | None


class SteadyClients:
    """``count`` clients of one key at work, while the block runs."""

    def __init__(self, url, secret, question, count=6):
        self._url, self._question = f"{url}/v1/chat/completions", question
        self._headers = {"authorization": f"Bearer {secret}", "traceparent": UNTRACED}
        self._until = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(place,)) for place in range(count)]
        self._counts = [0] * count
        self.told = []
        self.broken = []

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._until.set()
        for thread in self._threads:
            thread.join(60)

    def more(self, within_s=60):
        """Wait until all that is under way is over, and each asked twice more; return what was told then."""
        start = self._wait(1, within_s)
        return self.told[start : self._wait(2, within_s)]

    def _wait(self, times, within_s):
        until, goal = time.monotonic() + within_s, [count + times for count in self._counts]
        while any(count < its for count, its in zip(self._counts, goal, strict=True)) and not self.broken:
            assert time.monotonic() < until, "the clients are stuck"
            time.sleep(0.01)
        return len(self.told)

    def _run(self, place):
        with httpx.Client(headers=self._headers, timeout=60) as client:
            number = place
            while not self._until.is_set():
                number += 1
                try:
                    self.told.append(self._ask(client, stream=bool(number % 2)))
                    self._counts[place] += 1
                except Exception as error:
                    self.broken.append(error)
                    return

    def _ask(self, client, stream):
        messages = [{"role": "user", "content": self._question}]
        body = {"model": "leeroo", "messages": messages, "max_tokens": 8, "stream": stream}
        reply = client.post(self._url, json=body)
        if reply.status_code != 200:
            time.sleep(0.05)
            return Told(reply.status_code, None, 0.0, reply.text, reply.headers.get("retry-after"))
        if not stream:
            told = reply.json()["leeroo"]
            return Told(200, told["expert"], told["cost_usd"], "", None)
        *events, done = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
        pieces = [json.loads(event) for event in events]
        assert done == "[DONE]", reply.text
        assert not any("error" in piece for piece in pieces), reply.text
        told = pieces[-1]["leeroo"]
        return Told(200, told["expert"], told["cost_usd"], "", None)
