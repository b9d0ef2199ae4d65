from __future__ import annotations

from pathlib import Path

import pytest

from experts import Hardware, check_runnable, load_catalogue, probe_hardware
from experts.backends.hardware import Gpu
from experts.catalogue_file import DEFAULT_CATALOGUE

GPU_NODE = DEFAULT_CATALOGUE.parent / "examples" / "gpu-node.yaml"
GPU_TRIAL = GPU_NODE.with_name("gpu-trial.yaml")
APIS = DEFAULT_CATALOGUE.parent / "examples" / "apis.yaml"


def hardware(flags: str = "avx2", memory_gib: float = 16, gpus: tuple[Gpu, ...] = ()) -> Hardware:
    return Hardware(4, memory_gib, frozenset(flags.split()), gpus)


def test_this_machine_is_seen() -> None:
    here = probe_hardware()
    assert here.cpu_count >= 1
    assert here.memory_gib > 0.5
    assert here.cpu_flags


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [("avx2 avx512f", "float32"), ("avx512_bf16", "bfloat16"), ("amx_bf16", "bfloat16"), ("", "float32")],
)
def test_dtype_follows_the_flags(flags: str, dtype: str) -> None:
    assert hardware(flags).cpu_dtype == dtype


def test_default_catalogue_runs_on_a_laptop() -> None:
    assert [check_runnable(spec, hardware()) for spec in load_catalogue().experts] == [[], []]


def test_small_machine_gets_reasons() -> None:
    mixtral = load_catalogue(GPU_NODE).get("mixtral-8x7b")
    problems = check_runnable(mixtral, hardware())
    assert any("2 GPU" in problem.what for problem in problems)
    assert all(problem.fix for problem in problems)
    node = hardware(gpus=(Gpu("A100", 80.0),) * 8)
    assert check_runnable(mixtral, node) == []
    cards = hardware(gpus=(Gpu("small", 24.0),) * 2)
    assert any("GiB" in problem.what for problem in check_runnable(mixtral, cards))


def test_no_avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    problems = check_runnable(load_catalogue().experts[0], hardware("sse4"))
    assert ["AVX2" in problem.what for problem in problems] == [True]


@pytest.mark.parametrize(("version", "refused"), [("0.32.0", True), ("0.32.0+cpu", False)])
def test_a_vllm_for_gpus_has_no_cpu_to_run_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, refused: bool
) -> None:
    package = tmp_path / f"vllm-{version}.dist-info"
    package.mkdir()
    (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    problems = check_runnable(load_catalogue().experts[0], hardware())
    assert ["num_gpus is 0" in problem.what for problem in problems] == [True] * refused
    trial = load_catalogue(GPU_TRIAL).experts[0]
    assert check_runnable(trial, hardware(gpus=(Gpu("small", 8.0),))) == []


def test_missing_key_is_named_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_catalogue(APIS).get("gpt-4o")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "OPENAI_API_KEY" in check_runnable(spec, hardware())[0].what
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert check_runnable(spec, hardware()) == []
