"""What a round's machinery costs: our batch answering against bare vLLM, on the same prompts and machine.

Run by ``make bench-answer``. Ours is the real pipeline: Ray Data, the expert actor, grading, and every answer
written to the warehouse and flushed to the device. Bare is one call of ``LLM.generate`` with the rendered
prompts in a process that has never heard of Ray. They take turns, each on the same questions and with an
engine of its own that has just started; the start is left out on both sides and reported. Ray runs its
workers at niceness 15, and so runs bare. Ray's own vLLM processor (``ray.data.llm``) is measured beside
them, from its first request to its last answer, neither grading nor writing. ``--plain`` also starts bare
vLLM without the libraries that our engines load first and without the kernels that they choose, in the same
turns: what those are worth.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from experts import ExpertSpec, backend_env, engine_options, load_catalogue
from experts.catalogue.prompts import render_prompt
from pipelines.answering.bulk import answer_questions
from pipelines.ray_session import ray_session
from warehouse import QUESTIONS, Warehouse, question_id

RAY_NICENESS = 15

#: Every prompt starts with the same examples, as prompts of this kind do.
PROMPT = """\
Question: What is 12 + 30?
Answer: 42, because 12 and 30 make 42.
Question: What is 7 + 8?
Answer: 15, because 7 and 8 make 15.
Question: {question}
Answer:"""


def bench_spec(max_tokens: int) -> ExpertSpec:
    """The smaller bundled model, writing free text."""
    changes = {"prompt": PROMPT, "max_tokens": max_tokens, "stop": (), "context_tokens": 1024}
    return load_catalogue().get("smollm2-135m").model_copy(update=changes)


def make_sums(count: int, seed: int) -> pa.Table:
    """Sums of three numbers, all different."""
    numbers = np.random.default_rng(seed).integers(100, 10_000, (count, 3))
    rows = []
    for a, b, c in numbers.tolist():
        prompt, answer = f"What is {a} + {b} + {c}?", str(a + b + c)
        identity = {"question_id": question_id(prompt, None, answer), "source": "bench", "domain": "sums"}
        rows.append(identity | {"prompt": prompt, "answer": answer, "kind": "exact"})
    return pa.Table.from_pylist(rows, schema=QUESTIONS)


def generate_bare(connection: Connection, spec: ExpertSpec, prompts: list[str], plain: bool) -> None:
    """In a process of its own: generate, and send back seconds, the seconds of the start, and tokens."""
    os.environ.update(backend_env(spec) | ({"VLLM_PLUGINS": ""} if plain else {}))
    os.nice(RAY_NICENESS)
    began = time.perf_counter()
    from vllm import LLM, SamplingParams

    llm = LLM(**engine_options(spec), disable_log_stats=True)
    sampling = SamplingParams(max_tokens=spec.max_tokens, temperature=0.0, seed=0)
    ready = time.perf_counter()
    outputs = llm.generate(prompts, sampling, use_tqdm=False)
    seconds = time.perf_counter() - ready
    connection.send((seconds, ready - began, sum(len(o.outputs[0].token_ids) for o in outputs)))


def run_bare(spec: ExpertSpec, questions: pa.Table, *, plain: bool = False) -> tuple[float, float, int]:
    """Bare vLLM on the rendered prompts: seconds without the engine's start, the start, and tokens.

    A plain one is vLLM as it comes; the others load ahead what our engines load, and take the same kernels.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(
        target=generate_bare, args=(there, spec, prompts_of(questions), plain), daemon=True
    )
    with contextlib.nullcontext() if plain else preloaded(spec):  # too late once the process runs
        process.start()
    there.close()
    found: tuple[float, float, int] = here.recv()
    process.join()
    return found


@contextlib.contextmanager
def preloaded(spec: ExpertSpec) -> Iterator[None]:
    """Let processes that are started meanwhile load what our engines do; this one goes on as it is."""
    before = os.environ.get("LD_PRELOAD", "")
    os.environ["LD_PRELOAD"] = backend_env(spec).get("LD_PRELOAD", before)
    try:
        yield
    finally:
        os.environ["LD_PRELOAD"] = before


def prompts_of(questions: pa.Table) -> list[str]:
    return [render_prompt(PROMPT, text) for text in questions["prompt"].to_pylist()]


def run_ours(spec: ExpertSpec, questions: pa.Table, folder: Path) -> tuple[float, float, int]:
    """Answer, grade and store; return seconds without the engine's start, the start, and tokens."""
    store = Warehouse(folder)
    before = cpu_beside_engine_s()
    receipt = answer_questions(store, spec, questions, round="bench", run_id="")
    assert receipt.asked == questions.num_rows
    assert not receipt.failed
    beside_s = sum(after - before.get(pid, 0.0) for pid, after in cpu_beside_engine_s().items())
    print(f"  {receipt.wall_s:.1f} s with the start; CPU beside the engine {beside_s:.1f} s", flush=True)
    return receipt.wall_s - receipt.start_s, receipt.start_s, receipt.completion_tokens


def cpu_beside_engine_s() -> dict[int, float]:
    """CPU seconds so far of this process and all below it but the experts' actors, by process."""
    seconds = {}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            if "ExpertActor" not in " ".join(process.cmdline()):
                times = process.cpu_times()
                seconds[process.pid] = times.user + times.system
    return seconds


def run_processor(spec: ExpertSpec, prompts: list[str]) -> tuple[float, float, int]:
    """The same prompts through ``ray.data.llm``: seconds from first request to last answer, start, tokens."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    options = engine_options(spec)
    config = vLLMEngineProcessorConfig(
        model_source=options.pop("model"),
        engine_kwargs=options,
        runtime_env={"env_vars": backend_env(spec)},
        batch_size=32,
        concurrency=1,
        placement_group_config={"bundles": [{"CPU": 1}]},
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
    )
    processor = build_processor(
        config,
        preprocess=lambda row: {
            "prompt": row["prompt"],
            "sampling_params": {"max_tokens": spec.max_tokens, "temperature": 0.0, "seed": 0},
        },
        postprocess=lambda row: {
            "at": time.time(),
            "seconds": row["time_taken_llm"],
            "tokens": row["num_generated_tokens"],
        },
    )
    began = time.time()
    rows = processor(ray.data.from_items([{"prompt": prompt} for prompt in prompts])).take_all()
    first = min(row["at"] - row["seconds"] for row in rows)
    return max(row["at"] for row in rows) - first, first - began, sum(row["tokens"] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="turns of ours and bare")
    parser.add_argument("--questions", type=int, default=1_536, help="per run")
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument(
        "--plain", action="store_true", help="also vLLM as it comes, without our libraries and kernels"
    )
    parser.add_argument("--processor-runs", type=int, default=1, help="of ray.data.llm; 0 leaves it out")
    arguments = parser.parse_args()
    spec = bench_spec(arguments.max_tokens)
    console = Console()
    table = Table("run", "bare, s", "tokens/s", "start, s", "ours, s", "tokens/s", "start, s", "ratio")
    ratios: list[float] = []
    rates: list[float] = []
    gains: list[float] = []
    with ray_session(), tempfile.TemporaryDirectory() as folder:
        for run in range(arguments.runs):
            questions = make_sums(arguments.questions, seed=run)
            found = {}
            for side in ("bare", "ours") if run % 2 == 0 else ("ours", "bare"):
                store = Path(folder) / str(run)
                found[side] = (
                    run_bare(spec, questions) if side == "bare" else run_ours(spec, questions, store)
                )
            (bare_s, bare_start_s, bare_tokens), (ours_s, ours_start_s, our_tokens) = (
                found["bare"],
                found["ours"],
            )
            rates.append(bare_tokens / bare_s)
            ratios.append(our_tokens / ours_s / rates[-1])
            cells = (bare_s, rates[-1], bare_start_s, ours_s, our_tokens / ours_s, ours_start_s)
            console.print(f"run {run + 1}: bare {bare_s:.1f} s, ours {ours_s:.1f} s, ratio {ratios[-1]:.3f}")
            table.add_row(str(run + 1), *(f"{cell:.1f}" for cell in cells), f"{ratios[-1]:.3f}")
            if arguments.plain:
                plain_s, _, plain_tokens = run_bare(spec, questions, plain=True)
                gains.append(rates[-1] * plain_s / plain_tokens)
                console.print(f"       plain {plain_s:.1f} s, {plain_tokens / plain_s:.1f} tokens a second")
        console.print(table)
        console.print(
            f"ours / bare vLLM, tokens per second, median of {len(ratios)}: [bold]{np.median(ratios):.3f}[/]"
            f" (from {min(ratios):.3f} to {max(ratios):.3f}); the bar is 0.95"
        )
        if gains:
            console.print(
                f"bare vLLM with our libraries and kernels / as it comes, tokens/s, median of {len(gains)}:"
                f" [bold]{np.median(gains):.3f}[/] ({min(gains):.3f} to {max(gains):.3f}); the bar is 1.1"
            )
        for run in range(arguments.processor_runs):
            prompts = prompts_of(make_sums(arguments.questions, seed=20_000 + run))
            seconds, start_s, tokens = run_processor(spec, prompts)
            rate = tokens / seconds / float(np.median(rates))
            console.print(f"ray.data.llm / bare vLLM: {rate:.3f} ({seconds:.1f} s, start {start_s:.1f} s)")


if __name__ == "__main__":
    main()
