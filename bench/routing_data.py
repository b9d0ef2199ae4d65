"""Recorded outcomes as the routing benchmark reads them: the pools and their prices, from the files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from orchestrator.asking.readings import Readings
from warehouse import InputError, Outcomes, router_text

LETTERS = "ABCDEFGHIJ"
TOKENS_PER_QUERY = 1_000  # a flat price per million tokens becomes a price per query of this length


@dataclass(frozen=True)
class Pool:
    name: str
    benchmark: str
    experts: tuple[str, ...]
    floor: dict[str, float]  # "best_single", "oracle", and a share of the best single's price -> accuracy


def add_recorded_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recorded",
        type=Path,
        nargs="?",
        default=Path(os.environ.get("LEEROO_RECORDED", "recorded")),
        help="folder with pools.yaml and the recorded answers [LEEROO_RECORDED, else ./recorded]",
    )


def read_pools(directory: Path) -> dict[str, Pool]:
    path = directory / "pools.yaml"
    if not path.is_file():
        raise InputError("no pools.yaml", where=str(directory), fix="pass the folder of recorded answers")
    pools = yaml.safe_load(path.read_text())
    return {
        name: Pool(name, pool["benchmark"], _names(pool["experts"]), pool["floor"])
        for name, pool in pools.items()
    }


def _names(experts: str | list[str]) -> tuple[str, ...]:
    """The experts listed; none for "all", which every one of the benchmark stands for."""
    return () if experts == "all" else tuple(experts)


def load_pool(directory: Path, pool: Pool) -> Outcomes:
    found = load_recorded(directory / pool.benchmark)
    return found.only(pool.experts or found.experts).answered()


def load_recorded(folder: Path) -> Outcomes:
    """All experts of one benchmark at the benchmark's price per query (the head of pools.yaml)."""
    questions = pd.read_parquet(folder / "questions.parquet").drop_duplicates("question_id")
    if "metric" in questions:  # likeness to a reference is not success
        questions = questions[questions.metric != "similarity"]
    answers = pd.read_parquet(folder / "answers.parquet")
    answers = answers[answers.question_id.isin(questions.question_id)]
    experts = pd.read_csv(folder / "experts.csv").set_index("expert")
    names = tuple(sorted(set(answers.expert)))
    rows = pd.Index(questions.question_id).get_indexer(answers.question_id)
    columns = pd.Index(names).get_indexer(answers.expert)

    def matrix(values: Any) -> np.ndarray:
        cells = np.full((len(questions), len(names)), np.nan)
        cells[rows, columns] = values
        return cells

    characters = answers.completion_chars if "completion_chars" in answers else 4.0
    completion_tokens = np.asarray(characters, float) / 4 * np.ones(len(answers))
    if "completion_tokens" in answers:
        completion_tokens = answers.completion_tokens.to_numpy(float)
    price_in = experts.usd_per_mtok_in[answers.expert].to_numpy()
    price_out = experts.usd_per_mtok_out[answers.expert].to_numpy()
    costs: dict[str, Callable[[], np.ndarray]] = {
        "mmlu": lambda: price_in * TOKENS_PER_QUERY / 1e6,
        "mmlu_pro": lambda: (0.75 * price_in + 0.25 * price_out) * TOKENS_PER_QUERY / 1e6,
        "gsm8k_math": lambda: price_out * completion_tokens / 1e6,
        "coderouterbench": lambda: answers.cost_usd.to_numpy(),
    }
    choices = [list(c) for c in questions.choices] if "choices" in questions else [None] * len(questions)
    prompt_tokens = questions.question.str.len().to_numpy(float)[rows] / 4
    nothing = np.full((len(questions), len(names)), np.nan, np.float32)
    return Outcomes(
        question_ids=questions.question_id.to_numpy(str),
        texts=tuple(router_text(q, c) for q, c in zip(questions.question, choices, strict=True)),
        prompts=tuple(questions.problem if "problem" in questions else questions.question),
        sources=np.full(len(questions), folder.name),
        domains=questions.domain.to_numpy(str),
        subjects=questions.subject.to_numpy(str),
        chance=np.array([1 / len(c) if c else 0.0 for c in choices], np.float32),
        experts=names,
        score=matrix(answers.correct.to_numpy()).astype(np.float32),
        cost_usd=matrix(costs[folder.name]()),
        prompt_tokens=matrix(prompt_tokens).astype(np.float32),
        completion_tokens=matrix(completion_tokens).astype(np.float32),
        latency_s=nothing,
    )


def load_readings(directory: Path, pool: Pool, outcomes: Outcomes) -> Readings:
    """What the answers say: the letters, where they were recorded."""
    letters = load_letters(directory, pool, outcomes)
    letters[~np.isin(letters.astype(str), list(LETTERS))] = None  # the first word of a sentence is no option
    return Readings.from_keys(
        letters, np.isfinite(outcomes.score), outcomes.chance, outcomes.completion_tokens
    )


def load_letters(directory: Path, pool: Pool, outcomes: Outcomes) -> np.ndarray:
    """The letter that each expert answered [n, m], None where none was recorded."""
    path = directory / pool.benchmark / "answers.parquet"
    answers = pd.read_parquet(path)
    if "response" not in answers:
        return np.full((len(outcomes), len(outcomes.experts)), None, object)
    answers = answers[answers.response.notna() & (answers.response != "")]
    rows = pd.Index(outcomes.question_ids).get_indexer(answers.question_id)
    columns = pd.Index(outcomes.experts).get_indexer(answers.expert)
    letters = np.full((len(outcomes), len(outcomes.experts)), None, object)
    there = (rows >= 0) & (columns >= 0)
    letters[rows[there], columns[there]] = answers.response.to_numpy(object)[there]
    return letters
