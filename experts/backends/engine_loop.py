"""One vLLM engine, fed by any number of threads at once.

``LLM.generate`` answers one batch and lets the engine run dry at its end. Here every caller's requests join
whatever is running, so that the engine stays full from the first batch to the last (continuous batching
across batches), and each caller gets its own answers as soon as they are complete.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

#: A request: the prompt's tokens, and vLLM's SamplingParams.
Request = tuple[list[int], Any]


class EngineLoop:
    """Runs an engine in a thread of its own; :meth:`generate` may be called from many threads.

    Args:
        engine: vLLM's ``LLMEngine``. Nothing else may step it from now on. The loop ends, and lets the engine
            go, when this object is collected.
    """

    def __init__(self, engine: Any) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        thread = threading.Thread(target=_serve, args=(engine, self._calls), name="vllm-engine", daemon=True)
        thread.start()
        weakref.finalize(self, self._calls.put, None)

    def generate(self, requests: Sequence[Request], lora: Any = None) -> list[Any]:
        """Return vLLM's outputs, in the order of the requests.

        Raises whatever the engine raises: for a request that it refuses, only to the caller of that request;
        for a step that fails, to every caller that is waiting.
        """
        if not requests:
            return []
        call = _Call(requests, lora)
        self._calls.put(call)
        return call.done.result()


class _Call:
    """The requests of one caller, and the outputs that are there."""

    def __init__(self, requests: Sequence[Request], lora: Any) -> None:
        self.requests, self.lora = requests, lora
        self.outputs: list[Any] = [None] * len(requests)
        self.missing = len(requests)
        self.done: Future[list[Any]] = Future()


def _serve(engine: Any, calls: queue.SimpleQueue[_Call | None]) -> None:
    running: dict[str, tuple[_Call, int]] = {}
    submitted = 0
    while True:
        # With nothing running, sleep until there is; else take what has come in since the last step.
        while not running or not calls.empty():
            call = calls.get()
            if call is None:
                return
            submitted = _submit(engine, call, running, submitted)
        try:
            outputs = engine.step()
        except Exception as error:
            _abandon(engine, running, error)
            continue
        for output in outputs:
            if output.finished and output.request_id in running:
                call, position = running.pop(output.request_id)
                call.outputs[position] = output
                call.missing -= 1
                if not call.missing:
                    call.done.set_result(call.outputs)


def _submit(engine: Any, call: _Call, running: dict[str, tuple[_Call, int]], submitted: int) -> int:
    """Hand a caller's requests to the engine: all of them, or none where one is refused."""
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind

    names = [str(submitted + position) for position in range(len(call.requests))]
    try:
        for name, (tokens, sampling) in zip(names, call.requests, strict=True):
            sampling.output_kind = RequestOutputKind.FINAL_ONLY
            engine.add_request(name, tokens_input(tokens), sampling, lora_request=call.lora)
    except Exception as error:
        engine.abort_request(names)
        call.done.set_exception(error)
    else:
        running.update((name, (call, position)) for position, name in enumerate(names))
    return submitted + len(names)


def _abandon(engine: Any, running: dict[str, tuple[_Call, int]], error: Exception) -> None:
    calls = {id(call): call for call, _ in running.values()}
    names = list(running)
    running.clear()
    try:
        engine.abort_request(names)
    except Exception as second:  # the engine is dead; callers hear of the first error, which says why
        error.add_note(f"and it could not drop its requests: {second}")
    for call in calls.values():
        call.done.set_exception(error)
