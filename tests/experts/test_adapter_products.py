"""Products of adapters on the CPU, against the definition token by token."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from experts.backends.on_cpu.adapters import (  # noqa: E402
    expand,
    expand_slice,
    multiply,
    shrink,
    use_grouped_products,
)

SIZE = st.integers(1, 7)


@given(SIZE, SIZE, SIZE, st.integers(1, 4), st.booleans(), st.integers(0, 2**32), st.data())
@settings(deadline=None)
def test_every_token_meets_its_own_adapter(
    tokens: int, inner: int, outer: int, places: int, four: bool, seed: int, data: st.DataObject
) -> None:
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(tokens, inner, generator=draw)
    weights = torch.randn(places, outer, inner, generator=draw)
    stacked = weights.unsqueeze(1) if four else weights
    adapters = torch.tensor([data.draw(st.integers(-1, places - 1)) for _ in range(tokens)])
    expected = torch.stack(
        [
            weights[place] @ row if place >= 0 else torch.zeros(outer)
            for place, row in zip(adapters.tolist(), inputs, strict=True)
        ]
    )
    assert torch.allclose(multiply(inputs, stacked, adapters, torch.float32), expected, atol=1e-5)

    wide = torch.full((tokens, outer + 2), 5.0)
    shrink(inputs, stacked, wide, adapters, 0.5)
    assert torch.allclose(wide[:, :outer], 0.5 * expected, atol=1e-5)
    assert (wide[:, outer:] == 5.0).all()

    before = torch.randn(tokens, outer + 3, generator=draw)
    added = before.clone()
    expand(inputs, stacked, added, adapters)
    assert torch.allclose(added[:, :outer], before[:, :outer] + expected, atol=1e-5)
    assert torch.equal(added[:, outer:], before[:, outer:])
    narrow = torch.zeros(tokens, max(1, outer - 1))
    expand(inputs, stacked, narrow, adapters, add_inputs=False)
    assert torch.allclose(narrow, expected[:, : narrow.shape[1]], atol=1e-5)

    sliced = before.clone()
    expand_slice(inputs, stacked, sliced, adapters, 2, outer, add_inputs=True)
    assert torch.allclose(sliced[:, 2 : 2 + outer], before[:, 2 : 2 + outer] + expected, atol=1e-5)
    assert torch.equal(sliced[:, :2], before[:, :2])
    assert torch.equal(sliced[:, 2 + outer :], before[:, 2 + outer :])


def test_vllm_multiplies_with_them() -> None:
    lora_ops = pytest.importorskip("vllm.lora.ops.torch_ops.lora_ops")
    from vllm.lora.punica_wrapper import punica_cpu

    use_grouped_products()
    use_grouped_products()
    assert lora_ops.bgmv_shrink is punica_cpu.bgmv_shrink is shrink
    weights, output = torch.ones(2, 1, 3, 2), torch.zeros(4, 3)
    # A prompt of three tokens with the second adapter, then one of one token without.
    lora_ops.sgmv_expand(
        torch.ones(4, 2), weights, output, None, torch.tensor([3, 1]), torch.tensor([1, -1]), 2, 3, 4, True
    )
    assert output.tolist() == [[2.0] * 3] * 3 + [[0.0] * 3]
