"""A tiny model of the family that is tuned, with random weights and a tokenizer of single characters."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from experts import ExpertSpec


def write_tiny_model(folder: Path, licence: str = "apache-2.0") -> Path:
    """A Llama of 30,000 parameters, as `save_pretrained` writes it."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    characters = [*string.printable]
    vocabulary = {"<end>": 0, "<unk>": 1} | {char: i + 2 for i, char in enumerate(characters)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, eos_token_id=0,
        bos_token_id=0, pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>").save_pretrained(
        folder
    )
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\nA tiny model.\n")
    return folder


def spec_of(model: Path | str, **fields: object) -> ExpertSpec:
    entry = {"name": "tiny", "backend": "vllm", "model": str(model), "scoring": "cloze", "params_b": 0.00003}
    return ExpertSpec(**(entry | {"price": {"usd_per_mtok_in": 0.01, "usd_per_mtok_out": 0.01}} | fields))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


KINDS = ("arithmetic/chain_sum", "logic/family_relationships", "measurement/conversion", "english/agreement")
CATALOGUE = """experts:
  - {{name: tiny, backend: vllm, model: "{model}", scoring: cloze, params_b: 0.00003,
     price: {{usd_per_mtok_in: 0.01, usd_per_mtok_out: 0.01}}}}
  - {{name: large, backend: vllm, model: "{model}", scoring: cloze, params_b: 0.00003, tags: [large],
     price: {{usd_per_mtok_in: 0.02, usd_per_mtok_out: 0.02}}}}
"""


class Scripted:
    """An expert that is right by chance in two domains, and mostly right elsewhere."""

    def __init__(self, skill: float, seed: int) -> None:
        self._skill, self._random = skill, np.random.default_rng(seed)

    def answer(self, questions: pa.Table, **_: object) -> pa.Table:
        from experts.backends.base import RawAnswer, raw_table

        answers = []
        for row in questions.to_pylist():
            options = list(row["choices"])
            known = self._skill if row["domain"] not in ("arithmetic", "logic") else 0.0
            guess = int(self._random.integers(len(options)))
            choice = int(row["answer"]) if self._random.random() < known else guess
            answers.append(
                RawAnswer(
                    text=options[choice], choice=choice, prompt_tokens=len(row["prompt"]) // 4,
                    completion_tokens=2, latency_s=0.0,
                )
            )  # fmt: skip
        return raw_table(questions["question_id"].to_pylist(), answers)


@pytest.fixture(scope="session")
def gap_home(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A home with a champion of two experts that can do neither sums nor logic, and its catalogue; copied."""
    from typer.testing import CliRunner

    from experts import load_catalogue
    from experts.answer_rows import answer_and_grade
    from pipelines.cli import app
    from pipelines.questions.make import make_questions
    from pipelines.questions.sources.base import is_frozen
    from pipelines.selfplay.round_record import FROZEN, RoundFolder
    from warehouse.home import Home

    folder = tmp_path_factory.mktemp("gap")
    catalogue, home = folder / "catalogue.yaml", Home.open(folder / "home")
    catalogue.write_text(CATALOGUE.format(model=tiny_model))
    home.make()
    warehouse = home.warehouse()
    frozen = make_questions(KINDS, 10, 1, FROZEN, accept=is_frozen)
    learned = make_questions(KINDS, 40, 2, "r0", accept=lambda row: not is_frozen(row))
    for name, table in ((FROZEN, frozen), ("r0", learned)):
        warehouse.append("questions", table, round=name)
        for seed, (expert, skill) in enumerate({"tiny": 0.5, "large": 0.9}.items()):
            spec = load_catalogue(catalogue).get(expert)
            rows = answer_and_grade(Scripted(skill, seed), spec, table, round=name, run_id="")  # type: ignore[arg-type]
            warehouse.append("answers", rows, round=name, expert=expert)
    ids = frozen["question_id"].to_pylist()
    RoundFolder(home.rounds).record(FROZEN).step("questions", lambda: {"source": "generators", "ids": ids})
    (home.path / "pool.yaml").write_text("experts: [tiny, large]\n")
    options = ["--predictor", "knn", "--embedder", "wordllama", "--seeds", "1", "--home", str(home.path)]
    run = CliRunner().invoke(app, ["train", *options])
    assert run.exit_code == 0, run.output
    return home.path, catalogue
