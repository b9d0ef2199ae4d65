"""LoRA adapters on the CPU: the tokens of an adapter together, not each with a copy of its weights.

vLLM's products for the CPU copy an adapter's weights once for every token, which takes many times as long as
the model itself; and a token without an adapter (index -1) gets the one in the last place. These do neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def use_grouped_products() -> None:
    """Give vLLM the products of this module, in this process. Doing so twice changes nothing."""
    try:
        from vllm.lora.ops.torch_ops import lora_ops
        from vllm.lora.punica_wrapper import punica_cpu
    except ImportError:
        return  # a version with other ones
    ours: dict[str, Any] = {"bgmv_shrink": shrink, "bgmv_expand": expand, "bgmv_expand_slice": expand_slice}
    for module in (lora_ops, punica_cpu):
        for name, function in ours.items():
            if hasattr(module, name):
                setattr(module, name, function)


def shrink(
    inputs: torch.Tensor,
    weights: torch.Tensor,
    output: torch.Tensor,
    adapters: torch.Tensor,
    scaling: float = 1.0,
) -> None:
    """Write ``scaling * A x`` of each token's adapter into ``output`` [tokens, rank or more].

    Args:
        inputs: [tokens, in].
        weights: A of all adapters, [places, 1, rank, in] or [places, rank, in].
        output: written to.
        adapters: each token's place, [tokens]; -1: none.
        scaling: of the adapters.
    """
    product = multiply(inputs, weights, adapters, output.dtype)
    output[:, : product.shape[1]] = scaling * product


def expand(
    inputs: torch.Tensor,
    weights: torch.Tensor,
    output: torch.Tensor,
    adapters: torch.Tensor,
    add_inputs: bool = True,
) -> None:
    """Add ``B x`` of each token's adapter to ``output`` [tokens, out], or write it there."""
    width = min(weights.shape[-2], output.shape[1])  # either may be padded
    expand_slice(inputs, weights, output, adapters, 0, width, add_inputs)


def expand_slice(
    inputs: torch.Tensor,
    weights: torch.Tensor,
    output: torch.Tensor,
    adapters: torch.Tensor,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = True,
) -> None:
    """The same into ``slice_size`` columns of ``output`` from ``slice_offset`` on."""
    product = multiply(inputs, weights, adapters, output.dtype)[: len(output), :slice_size]
    part = output[: len(product), slice_offset : slice_offset + slice_size]
    if add_inputs:
        part += product
    else:
        part.copy_(product)


def multiply(
    inputs: torch.Tensor, weights: torch.Tensor, adapters: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Return each token's vector times the matrix of its adapter [tokens, out]; zeros where it has none."""
    inputs, matrices = inputs.to(dtype), weights.flatten(0, -3)
    places = adapters.unique().tolist()
    if len(places) == 1 and places[0] >= 0:
        return inputs @ matrices[places[0]].to(dtype).T
    product = inputs.new_zeros(len(inputs), matrices.shape[1])
    for place in places:
        if place >= 0:
            rows = adapters == place
            product[rows] = inputs[rows] @ matrices[place].to(dtype).T
    return product
