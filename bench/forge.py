"""The story of a gap on a demo home: arithmetic, which no expert there can do, is closed by a specialist.

``leeroo forge close`` with all figures, on a copy of a home that ``leeroo demo`` has made. With
``--in-process`` the specialist is asked through PyTorch instead of an engine: the same ranking of options by
likelihood, without Ray and vLLM, where a machine has no time for these.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from experts import ExpertSpec, load_catalogue
from experts.answer_rows import answer_and_grade
from experts.backends.base import RawAnswer, raw_table
from pipelines.forge.base import load_base
from pipelines.forge.closing.close import CloseSettings, close_gap
from pipelines.forge.examples import Example, encode_choices
from pipelines.forge.gap import find_target
from pipelines.forge.likelihood import answer_scores
from pipelines.forge.recipe import TrainRecipe
from pipelines.forge.run import ForgeSettings, forge_specialist
from pipelines.learning.grow_pool import growth_round
from warehouse.home import Home

GAP = "arithmetic/chain_sum"


class InProcess:
    """A specialist that PyTorch runs; it ranks options as the engine does."""

    def __init__(self, spec: ExpertSpec, recipe: TrainRecipe) -> None:
        from peft import PeftModel

        assert spec.lora is not None
        self._spec = spec
        base, self._tokenizer = load_base(spec.model_copy(update={"lora": None}), recipe)
        self._model = PeftModel.from_pretrained(base, spec.lora).eval()

    def answer(self, questions: pa.Table, **_: object) -> pa.Table:
        choices = encode_choices(questions, self._spec, self._tokenizer)
        examples = [Example(c.prompt, option) for c in choices for option in c.options]
        scores = answer_scores(self._model, examples)
        parts = np.split(scores, np.cumsum([len(c.options) for c in choices])[:-1])
        texts = questions["choices"].to_pylist()
        answers = [
            RawAnswer(
                text=text[int(part.argmax())],
                choice=int(part.argmax()),
                choice_logprobs=part.tolist(),
                prompt_tokens=len(choice.prompt),
                completion_tokens=len(choice.options[int(part.argmax())]),
                latency_s=0.0,
            )
            for text, choice, part in zip(texts, choices, parts, strict=True)
        ]
        return raw_table(questions["question_id"].to_pylist(), answers)


def settings(minutes: float, threads: int) -> ForgeSettings:
    recipe = TrainRecipe(
        steps=64, batch_size=48, learning_rate=2e-3, rank=16, alpha=16.0, dtype="bfloat16", threads=threads,
        minutes=minutes,
    )  # fmt: skip
    return ForgeSettings(
        "smollm2-135m", questions=4_000, validation=60, weights=(0.7, 2.0, 1.0), recipe=recipe
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo-home", type=Path, help="to copy; by default `leeroo demo` makes one")
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir(), "leeroo-forge"))
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--held-out", type=int, default=240)
    parser.add_argument("--elsewhere", type=int, default=140)
    parser.add_argument("--in-process", action="store_true")
    given = parser.parse_args()
    if not given.home.exists() and given.demo_home:
        shutil.copytree(given.demo_home, given.home)
    elif not given.home.exists():
        demo = [sys.executable, "-m", "pipelines.cli", "demo", "--home", str(given.home)]
        subprocess.run(demo, check=True)
    started = time.monotonic()
    home, gap, known = Home.open(given.home), find_target(GAP), load_catalogue()
    how = CloseSettings(
        settings(given.minutes, given.threads), held_out=given.held_out, elsewhere=given.elsewhere
    )

    def tell(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", flush=True)

    def measured(found: dict[str, float]) -> None:
        if "validation_loss" in found:
            tell(f"  {found}")

    if given.in_process:
        forged = forge_specialist(home, gap, known, how.forge, tell=tell, on_measured=measured)
        spec = load_catalogue(forged.specialist.catalogue).get(forged.specialist.name)
        warehouse = home.warehouse()
        questions = warehouse.scan("questions")
        questions = questions.filter(pc.equal(questions["kind"], "choice"))
        done = warehouse.answered(spec.name, spec.version)
        is_open = [identity not in done for identity in questions["question_id"].to_pylist()]
        questions = questions.filter(pa.array(is_open, pa.bool_()))
        if questions.num_rows:
            backend = InProcess(spec, how.forge.recipe)
            rows = answer_and_grade(backend, spec, questions, round=growth_round(spec.name), run_id="")
            warehouse.append("answers", rows, round=growth_round(spec.name), expert=spec.name)
            tell(f"{rows.num_rows} questions asked in this process")
    from pipelines.ray_session import Connection

    with Connection() as connection:
        closed = close_gap(home, gap, known, how, connect=connection.ensure, tell=tell, on_measured=measured)
    for name in ("gap", "elsewhere"):
        tell(f"{name}: {closed.test[name]}")
    for level in closed.test["levels"]:
        tell(f"{level['name']}: {level}")
    tell(f"{closed.refused or 'went through'}; {closed.promotion}; {closed.bought}")


if __name__ == "__main__":
    main()
