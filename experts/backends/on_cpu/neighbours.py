"""vLLM on the CPU beside whatever else its process has imported."""

from __future__ import annotations

from typing import Any


def look_past_what_raises() -> None:
    """Let vLLM start in a process with values that answer any look with an error.

    On the CPU vLLM looks at every value of every module for kernels to replace, by ``hasattr``. That raises
    for values such as Flask's ``request`` outside of a request, and the engine would not start.
    """
    try:
        from vllm.triton_utils import dispatcher
    except ImportError:
        return  # a version that does not look

    def has_attribute(value: Any, name: str) -> bool:
        try:
            return hasattr(value, name)
        except Exception:
            return False

    dispatcher.hasattr = has_attribute  # this module's name comes before the builtin
