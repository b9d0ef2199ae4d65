"""vLLM's compiled norms against those written in PyTorch, which every engine had before."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.backends.on_cpu import kernels
from experts.backends.on_cpu.plugin import prepare_engine

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}


@pytest.fixture(scope="module")
def ops() -> Any:
    from vllm import ir
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("vLLM's build is for a GPU")
    kernels.use_compiled_norms()
    kernels.use_compiled_norms()
    return ir.ops


@given(
    rows=st.integers(0, 40),
    width=st.one_of(st.sampled_from([32, 64, 576]), st.integers(1, 600)),
    dtype=st.sampled_from(list(TOLERANCE)),
    scale=st.sampled_from([1e-3, 1.0, 50.0]),
    seed=st.integers(0, 2**31),
    takes_compiled=st.booleans(),
    spoil=st.sampled_from(["transposed", "other type", "part of the row", "no weights"]),
)
@settings(max_examples=150, deadline=None)
def test_they_give_what_pytorch_gives(
    ops: Any, rows: int, width: int, dtype: Any, scale: float, seed: int, takes_compiled: bool, spoil: str
) -> None:
    draw = torch.Generator().manual_seed(seed)
    x, residual = (scale * torch.randn(2, rows, width, generator=draw)).to(dtype)
    weight, size = torch.randn(width, generator=draw).to(dtype), None
    if not takes_compiled:
        if spoil == "transposed":
            x, residual = (part.T.contiguous().T for part in (x, residual))
        elif spoil == "other type":
            weight = weight.to(torch.float64)
        elif spoil == "part of the row":
            size = max(1, width // 2)
        else:
            weight = None
    norm, add = ops.rms_norm, ops.fused_add_rms_norm
    order = [kernels.PROVIDER, "native"]
    with norm.set_priority(order), add.set_priority(order):
        if takes_compiled and width % 32 == 0:
            assert norm.dispatch(x, weight, 1e-5, size).provider == kernels.PROVIDER
            assert add.dispatch(x, residual, weight, 1e-5, size).provider == kernels.PROVIDER
        one = norm(x.clone(), weight, 1e-5, size)
        both = add.maybe_inplace(x.clone(), residual.clone(), weight, 1e-5, size)
    expected = norm.impls["native"].impl_fn(x, weight, 1e-5, size)
    expected_both = add.impls["native"].impl_fn(x, residual, weight, 1e-5, size)
    for found, wanted in zip((one, *both), (expected, *expected_both), strict=True):
        assert found.dtype == wanted.dtype
        bound = TOLERANCE[dtype] * (1 + wanted.abs().float().max().item() if wanted.numel() else 1)
        torch.testing.assert_close(found.float(), wanted.float(), atol=bound, rtol=TOLERANCE[dtype])


def test_every_process_of_an_engine_has_them_where_nothing_else_is_compiled() -> None:
    """By vLLM's own ways: its plugins are loaded, and its configuration is made."""
    (named,) = importlib.metadata.entry_points(group="vllm.general_plugins", name="leeroo_cpu")
    assert named.load() is prepare_engine
    code = (
        "from types import SimpleNamespace as S; from vllm.config import CompilationMode as M;"
        "from vllm.platforms import current_platform as p; from vllm.plugins import load_general_plugins;"
        "load_general_plugins();"
        "of = lambda mode: p.get_default_ir_op_priority(S(compilation_config=S(mode=mode)));"
        "names = [of(m).rms_norm[0] for m in (M.NONE, M.VLLM_COMPILE)];"
        "print('ORDER', names, of(M.NONE).gelu_and_mul_sparse)"
    )
    own = {name: value for name, value in os.environ.items() if name != "VLLM_PLUGINS"}
    for plugins, order in (
        ({}, "['compiled_cpu', 'native']"),
        ({"VLLM_PLUGINS": ""}, "['native', 'native']"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=own | plugins,
        )
        assert f"ORDER {order} ['native']" in done.stdout, done.stdout + done.stderr
