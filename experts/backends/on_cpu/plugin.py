"""What vLLM calls in every process of an engine, by the entry point ``vllm.general_plugins``.

An engine that is served runs in a process of its own, which imports nothing of ours but this.
"""

from __future__ import annotations


def prepare_engine() -> None:
    """Give vLLM on a CPU the kernels of this folder, in this process. Doing so twice changes nothing."""
    try:
        from vllm.platforms import current_platform
    except ImportError:
        return
    if current_platform.is_cpu():
        from experts.backends.on_cpu.adapters import use_grouped_products
        from experts.backends.on_cpu.kernels import use_compiled_norms

        use_grouped_products()
        use_compiled_norms()
