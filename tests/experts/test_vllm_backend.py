"""The real engine with the smaller bundled model; the pure parts without it."""

from __future__ import annotations

import os
import random
import sys
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from experts import (
    ExpertSpec,
    answer_and_grade,
    backend_env,
    default_cache_dir,
    engine_options,
    find_preloads,
    grade,
    load_catalogue,
    prepare_process,
)
from experts.catalogue_file import DEFAULT_CATALOGUE
from warehouse import ANSWERS, RAW_ANSWERS

GPU_NODE = load_catalogue(DEFAULT_CATALOGUE.parent / "examples" / "gpu-node.yaml")
CAPITALS = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Russia": "Moscow", "Spain": "Madrid"}
CAPITALS |= {"Egypt": "Cairo", "Greece": "Athens", "China": "Beijing", "Cuba": "Havana", "Peru": "Lima"}


def capital_questions() -> list[dict[str, Any]]:
    rng = random.Random(0)
    rows = []
    for country, capital in CAPITALS.items():
        choices = [*rng.sample([c for c in CAPITALS.values() if c != capital], 3), capital]
        rng.shuffle(choices)
        answer = str(choices.index(capital))
        rows.append({"prompt": f"What is the capital of {country}?", "choices": choices, "answer": answer})
    return rows


def test_cpu_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "VLLM_CPU_KVCACHE_SPACE", "VLLM_ENABLE_V1_MULTIPROCESSING"):
        monkeypatch.delenv(name, raising=False)
    env = backend_env(load_catalogue().experts[0])
    assert env["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert env["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert int(env["OMP_NUM_THREADS"]) >= 1
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    assert backend_env(load_catalogue().experts[0])["VLLM_CPU_KVCACHE_SPACE"] == "7"


def test_what_is_preloaded_stands_beside_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = load_catalogue().experts[0], GPU_NODE.get("qwen2.5-7b")
    monkeypatch.setenv("LD_PRELOAD", "mine.so")
    libraries = [preload.library for preload in find_preloads() if preload.library]
    assert backend_env(cpu)["LD_PRELOAD"].split(":") == ["mine.so", *libraries]
    assert "LD_PRELOAD" not in backend_env(gpu)
    monkeypatch.setenv("LD_PRELOAD", backend_env(cpu)["LD_PRELOAD"])
    assert backend_env(cpu)["LD_PRELOAD"] == os.environ["LD_PRELOAD"]
    monkeypatch.setenv("LD_PRELOAD", "/lib/libgomp-1.so.1:/lib/libjemalloc.so.2")
    assert backend_env(cpu)["LD_PRELOAD"] == os.environ["LD_PRELOAD"]


def test_gpu_keeps_the_engines_own_defaults() -> None:
    assert not any("CPU" in n or "MULTI" in n for n in backend_env(GPU_NODE.get("qwen2.5-7b")))
    options = engine_options(GPU_NODE.get("qwen2.5-32b"))
    assert options["tensor_parallel_size"] == 2
    assert "dtype" not in options
    assert engine_options(GPU_NODE.get("mixtral-8x7b"))["gpu_memory_utilization"] == 0.92
    medicine = GPU_NODE.get("llama-3.1-8b").model_copy(update={"lora": "adapters/medicine"})
    assert engine_options(medicine)["enable_lora"] is True


@pytest.fixture(scope="module")
def small() -> ExpertSpec:
    return load_catalogue().get("smollm2-135m").model_copy(update={"context_tokens": 512})


@pytest.fixture(scope="module")
def backend(small: ExpertSpec) -> Any:
    """The engine, in a process with a module whose values answer outside of a request with an error."""
    from werkzeug.local import LocalProxy

    from experts import build_backend

    web: Any = ModuleType("a_web_application")
    web.request = LocalProxy(ContextVar("request"))
    with pytest.MonkeyPatch.context() as modules:
        modules.setitem(sys.modules, web.__name__, web)
        built = build_backend(small)
    return built


@pytest.fixture
def asked_as(backend: Any):
    """The one engine, asked in another way."""
    original = backend.spec

    def change(**fields: Any) -> Any:
        backend.spec = original.model_copy(update=fields)
        return backend

    yield change
    backend.spec = original


def naive_loglikelihoods(backend: Any, prompt: str, choices: list[str]) -> list[float]:
    """Each option scored in full, nothing shared and nothing cached."""
    from vllm import SamplingParams

    tokenizer = backend._tokenizer
    start = tokenizer.encode(f"Question: {prompt}\nAnswer:")
    ends = [tokenizer.encode(f" {choice}", add_special_tokens=False) for choice in choices]
    sampling = SamplingParams(max_tokens=1, prompt_logprobs=0, skip_reading_prefix_cache=True)
    outputs = backend._engine.loop.generate([(start + end, sampling) for end in ends])
    return [
        sum(o.prompt_logprobs[len(start) + i][token].logprob for i, token in enumerate(end))
        for o, end in zip(outputs, ends, strict=True)
    ]


def test_what_torch_compiles_lies_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_catalogue().experts[0]
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
    prepare_process(spec)
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]) == default_cache_dir() / "torch"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = "/elsewhere"
    prepare_process(spec)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"


@pytest.mark.e2e
def test_cloze_equals_the_naive_scores_cached_or_not(backend: Any, questions_of) -> None:
    long = "Consider this with care. " * 14  # long enough for the prefix cache
    rows = [
        {"prompt": "Where is the Eiffel Tower?", "choices": ["Paris", "Rome", "Oslo"], "answer": "0"},
        {"prompt": "What is 12 + 30?", "choices": ["42", "41", "1042", "4"], "answer": "0"},
        {
            "prompt": long + "What do bees make?",
            "choices": ["honey", "honey and wax, which people have gathered for thousands of years", "silk"],
            "answer": "1",
        },
        {"prompt": long + "Is water wet?", "choices": ["New York City", "New York", "New"], "answer": "1"},
    ]
    questions = questions_of(rows)
    naive = [naive_loglikelihoods(backend, row["prompt"], row["choices"]) for row in rows]
    for _ in range(2):  # the second time every prompt is in the cache
        raw = backend.answer(questions)
        assert raw["error"].null_count == len(rows)
        for expected, found in zip(naive, raw["choice_logprobs"].to_pylist(), strict=True):
            np.testing.assert_allclose(found, expected, atol=0.02)
            assert np.argmax(found) == np.argmax(expected)


@pytest.mark.e2e
def test_full_rows_and_what_the_model_knows(backend: Any, small: ExpertSpec, questions_of) -> None:
    questions = questions_of(capital_questions())
    rows = answer_and_grade(backend, small, questions, round="r1", run_id="run")
    assert rows.schema == ANSWERS
    assert np.mean(rows["score"].to_pylist()) >= 0.7  # chance is 0.25
    for row, question in zip(rows.to_pylist(), questions.to_pylist(), strict=True):
        assert row["question_id"] == question["question_id"]
        assert row["text"] == question["choices"][row["choice"]]
        assert row["cost_usd"] == pytest.approx((row["prompt_tokens"] + row["completion_tokens"]) * 1e-8)
        assert 5 < row["prompt_tokens"] < 40
        assert 1 <= row["completion_tokens"] < 6
        assert row["latency_s"] > 0


@pytest.mark.e2e
def test_poison_questions_are_rows_and_spare_the_rest(backend: Any, questions_of) -> None:
    good = capital_questions()[0]
    poison = [
        {"prompt": "", "answer": "x"},
        {"prompt": " \n\t", "choices": ["a", "b"], "answer": "0"},
        {"prompt": "word " * 2000, "answer": "x"},
        {"prompt": "x" * 10**6, "choices": ["a", "b"], "answer": "0"},
        {"prompt": "Many?", "choices": [str(i) for i in range(200)], "answer": "0"},
        {"prompt": "Huge?", "choices": ["a", "b " * 3000], "answer": "0"},
        {"prompt": "Empty?", "choices": ["a", " "], "answer": "0"},
    ]
    odd = [
        {"prompt": "\x00\x01\x1b[31m\u202e \ufffd \U0001f600", "choices": ["\x00", "b\x07"], "answer": "0"},
        {"prompt": "{question} {} %s <|im_end|>", "choices": ["{", "}"], "answer": "0"},
        {"prompt": "One?", "choices": ["only"], "answer": "0"},
        {"prompt": "Same?", "choices": ["same", "same"], "answer": "0"},
    ]
    raw = backend.answer(questions_of([good, *poison, *odd, good | {"prompt": "Capital of France?"}]))
    errors = raw["error"].to_pylist()
    assert errors[0] is None
    assert all(e and e.startswith("UnanswerableQuestion: ") for e in errors[1 : 1 + len(poison)])
    assert errors[1 + len(poison) :] == [None] * (len(odd) + 1)
    assert raw.schema == RAW_ANSWERS


@pytest.mark.e2e
def test_letters_and_generation(asked_as, questions_of) -> None:
    questions = questions_of(capital_questions())
    by_letter = asked_as(scoring="letter").answer(questions)
    assert by_letter["error"].null_count == 10
    assert set(by_letter["completion_tokens"].to_pylist()) == {1}
    logprobs = np.array(by_letter["choice_logprobs"].to_pylist())
    assert logprobs.shape == (10, 4)
    assert np.all(np.exp(logprobs).sum(axis=1) <= 1.0 + 1e-4)
    generated = grade(questions, asked_as(scoring="generate", max_tokens=8).answer(questions))
    assert generated["error"].null_count == 10
    assert all(0 < n <= 8 for n in generated["completion_tokens"].to_pylist())


@pytest.mark.e2e
def test_chat_and_free_form(asked_as, questions_of) -> None:
    rows = [{"prompt": f"What is the capital of {c}?", "answer": a} for c, a in list(CAPITALS.items())[:4]]
    backend = asked_as(chat=True, max_tokens=12, prompt="{question} Reply in one word.")
    table = backend.answer(questions_of(rows))
    assert table["error"].null_count == 4
    texts = " ".join(table["text"].to_pylist())
    assert sum(answer in texts for answer in CAPITALS.values()) >= 2
    assert all(0 < n <= 12 for n in table["completion_tokens"].to_pylist())


@pytest.mark.e2e
def test_a_refused_request_stands_alone(backend: Any, questions_of, monkeypatch) -> None:
    """An engine that refuses one question of a batch costs that question only."""
    real = backend._run_scoring
    marked = backend._tokenizer.encode(" zebra", add_special_tokens=False)[0]
    no_such_token = 10**7

    def spoil(jobs: Any, *, from_cache: bool) -> Any:
        jobs = [([*p, no_such_token] if marked in p else p, request) for p, request in jobs]
        return real(jobs, from_cache=from_cache)

    monkeypatch.setattr(backend, "_run_scoring", spoil)
    rows = capital_questions()
    rows[3] = {"prompt": "A zebra", "choices": ["a", "b"], "answer": "0"}
    raw = backend.answer(questions_of(rows))
    errors = raw["error"].to_pylist()
    assert [i for i, e in enumerate(errors) if e] == [3]
    assert errors[3].startswith("RefusedByEngine: ")
    assert "vocab" in errors[3]
    monkeypatch.undo()
    rest = backend.answer(questions_of(rows[:3] + rows[4:]))  # the engine is none the worse
    assert rest["choice"].to_pylist() == [c for i, c in enumerate(raw["choice"].to_pylist()) if i != 3]


@pytest.mark.e2e
def test_callers_share_the_engine_and_get_their_own(asked_as, questions_of) -> None:
    """Several threads ask at once; each gets what it would have got alone, and failures stay apart."""
    from concurrent.futures import ThreadPoolExecutor

    backend = asked_as(scoring="cloze")
    blocks = [
        questions_of([*capital_questions()[i : i + 2], {"prompt": "", "answer": "x"}]) for i in range(9)
    ]
    alone = [backend.answer(block) for block in blocks]
    with ThreadPoolExecutor(9) as pool:
        together = list(pool.map(backend.answer, blocks))
    for first, second in zip(alone, together, strict=True):
        assert first["question_id"].equals(second["question_id"])
        assert first["choice"].equals(second["choice"])
        assert [bool(e) for e in second["error"].to_pylist()] == [False, False, True]
        assert all(0 < latency_s < 5 for latency_s in second["latency_s"].to_pylist())


@pytest.mark.e2e
def test_a_step_that_fails_reaches_all_callers_and_the_engine_goes_on(
    asked_as, questions_of, monkeypatch
) -> None:
    backend = asked_as(scoring="cloze")
    questions = questions_of(capital_questions()[:4])
    expected = backend.answer(questions)["choice"]
    from vllm.v1.engine.llm_engine import LLMEngine

    real, failures = LLMEngine.step, iter([True, False])

    def step(self: Any) -> Any:
        if next(failures, False):
            raise RuntimeError("out of memory")
        return real(self)

    monkeypatch.setattr(LLMEngine, "step", step)
    assert backend.answer(questions)["choice"].equals(expected)  # asked again in halves


@pytest.mark.e2e
def test_a_purse_pays_for_whole_questions_only(asked_as, questions_of) -> None:
    from experts import BUDGET_SPENT, SpendCap, has_error

    backend = asked_as(scoring="generate", max_tokens=8)
    questions = questions_of(capital_questions())
    full = SpendCap(1.0)
    answers = answer_and_grade(backend, backend.spec, questions, round="r", run_id="", purse=full)
    cost = sum(answers["cost_usd"].to_pylist())
    assert full.spent_usd() == pytest.approx(cost)
    half = SpendCap(0.5 * cost)
    answers = answer_and_grade(backend, backend.spec, questions, round="r", run_id="", purse=half)
    unpaid = has_error(answers, BUDGET_SPENT).to_pylist()
    assert unpaid == sorted(unpaid)
    assert 2 <= sum(unpaid) <= 8
    assert 0 < half.spent_usd() <= 0.5 * cost


@pytest.mark.e2e
def test_an_engine_that_dies_leaves_no_reservation(
    asked_as, questions_of, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.v1.engine.exceptions import EngineDeadError

    from experts import SpendCap
    from experts.backends.spend_cap import ReserveOutcome

    def die(batch: Any) -> Any:
        raise EngineDeadError

    backend, cap = asked_as(scoring="generate", max_tokens=8), SpendCap(1.0)
    monkeypatch.setattr(backend, "_generate", die)
    with pytest.raises(EngineDeadError):
        backend.answer(questions_of(capital_questions()), purse=cap)
    assert cap.spent_usd() > 0
    assert cap.reserve(1.0) is ReserveOutcome.REFUSED  # nothing is out that could come back


@pytest.mark.e2e
def test_empty_batch(backend: Any, questions_of) -> None:
    assert backend.answer(questions_of([])) == RAW_ANSWERS.empty_table()
