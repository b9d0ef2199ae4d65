"""vLLM's own compiled layer norms on the CPU, in the place of those written in PyTorch.

vLLM's build for the CPU has ``rms_norm`` and ``fused_add_rms_norm`` in one pass each, and offers them to GPUs
only. On the CPU each norm is six operations, and after each of them the engine's threads wait for each other.
"""

from typing import Any

import torch
from torch import Tensor

#: The widest vector that the kernels may load, in elements: a row must hold whole ones.
_VECTOR = 32

#: How vLLM calls these implementations in its order of preference.
PROVIDER = "compiled_cpu"


def use_compiled_norms() -> None:
    """Have vLLM's engines in this process take them where they do not compile the whole model.

    Doing so twice changes nothing, nor does it with a vLLM that has no such kernels or no such choice.
    """
    try:
        from vllm import ir
        from vllm.config import CompilationMode
        from vllm.config.kernel import IrOpPriorityConfig
        from vllm.platforms import current_platform

        if PROVIDER in ir.ops.rms_norm.impls:
            return
        current_platform.import_kernels()
        if not (hasattr(torch.ops._C, "rms_norm") and hasattr(torch.ops._C, "fused_add_rms_norm")):
            return
        ir.ops.rms_norm.register_impl(PROVIDER, supports_args=can_norm)(rms_norm)
        ir.ops.fused_add_rms_norm.register_impl(PROVIDER, supports_args=can_add_and_norm, inplace=True)(
            fused_add_rms_norm
        )
    except (ImportError, AttributeError):
        return
    order = [PROVIDER, "native"]

    def prefer(_platform: type, config: Any) -> Any:
        if config.compilation_config.mode != CompilationMode.NONE:
            return IrOpPriorityConfig.with_default(["native"])
        return IrOpPriorityConfig.with_default(["native"], rms_norm=order, fused_add_rms_norm=order)

    type(current_platform).get_default_ir_op_priority = classmethod(prefer)


def rms_norm(x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None) -> Tensor:
    """Return ``weight * x / sqrt(mean(x^2) + epsilon)`` over the last axis, shaped and typed as ``x``."""
    output = torch.empty_like(x)
    torch.ops._C.rms_norm(output, x, weight, epsilon)
    return output


def fused_add_rms_norm(
    x: Tensor,
    x_residual: Tensor,
    weight: Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the norm of ``x + x_residual`` and the sum itself, both written over what was given."""
    torch.ops._C.fused_add_rms_norm(x, x_residual, weight, epsilon)
    return x, x_residual


def can_norm(x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None) -> bool:
    """Tell whether the kernel takes these: rows in one piece and of whole vectors, weights of their type."""
    if variance_size is not None or weight is None or weight.dtype != x.dtype:
        return False
    return bool(x.is_contiguous() and x.shape[-1] % _VECTOR == 0)


def can_add_and_norm(
    x: Tensor,
    x_residual: Tensor,
    weight: Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> bool:
    """Tell the same, of what is added first as well."""
    whole = x_residual.dtype == x.dtype and x_residual.is_contiguous()
    return whole and can_norm(x, weight, epsilon, variance_size)
