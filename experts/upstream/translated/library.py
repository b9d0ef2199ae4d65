"""litellm, loaded on demand and kept to what it is here for: the words of other APIs."""

from __future__ import annotations

import logging
import os
from collections.abc import Coroutine
from functools import cache
from importlib.util import find_spec
from typing import Any

from experts.catalogue.spec import ExpertSpec

PACKAGE = "litellm"
#: Providers whose calls are known to go over our own connections alone; of others, some ask twice.
PROVIDERS = ("anthropic", "azure", "bedrock", "gemini", "vertex_ai")
_NO_LIMIT = 10**9
#: Lists that it would fetch from the network.
_FETCHED = ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS")
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")  # their lines may hold parts of requests


def is_installed() -> bool:
    """Tell whether litellm is here, without importing it."""
    return find_spec(PACKAGE) is not None


def provider_of(spec: ExpertSpec) -> str:
    """Return an expert's provider, in litellm's words: what stands before the first slash of its model."""
    return spec.model.partition("/")[0] if "/" in spec.model else ""


@cache
def load_litellm() -> Any:
    """Import litellm, which takes some seconds, and switch off all that it does besides translating.

    It fetches no list of models, reports nothing, calls nobody back, writes no log, and tries nothing again.
    """
    for name in _FETCHED:
        os.environ[name] = "True"  # what its package brings serves
    import litellm

    for name in _LOGGERS:
        logging.getLogger(name).disabled = True
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.disable_streaming_logging = True
    litellm.num_retries = 0
    litellm.drop_params = False
    litellm.modify_params = False
    # It ends a stream that says one word a hundred times; whether that is an answer is not for it to say.
    vars(litellm)["REPEATED_STREAMING_CHUNK_LIMIT"] = _NO_LIMIT
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

    # It tells callbacks of each call, by a queue that belongs to the event loop that came first.
    GLOBAL_LOGGING_WORKER.ensure_initialized_and_enqueue = _forget
    for callbacks in (
        *(litellm.callbacks, litellm.input_callback, litellm.success_callback, litellm.failure_callback),
        *(litellm._async_success_callback, litellm._async_failure_callback, litellm._async_input_callback),
    ):
        callbacks.clear()
    return litellm


def _forget(async_coroutine: Coroutine[Any, Any, Any]) -> None:
    async_coroutine.close()
