"""Leaks of evaluation questions are planted in every way that is promised to be found; all are found."""

from __future__ import annotations

import functools
import random

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.forge.gap import find_target
from pipelines.forge.leaks import EvaluationSet, answer_text
from pipelines.forge.training_questions import held_out_questions, make_training_questions
from pipelines.questions.draft import Row, question_row, questions_table
from pipelines.questions.make import make_questions
from pipelines.questions.sources.base import is_frozen
from warehouse import InputError, TooFewError

KINDS = ("arithmetic/chain_sum", "geography/capital", "logic/syllogism")
PER_KIND = 25


@functools.cache  # made when it is needed, not by every process that collects this file
def evaluation_questions() -> pa.Table:
    return make_questions(KINDS, PER_KIND, seed=5)


@functools.cache
def evaluation_rows() -> list[Row]:
    rows: list[Row] = evaluation_questions().to_pylist()
    return rows


def again(row: Row, **changed: object) -> Row:
    """The question written otherwise; options may be in another order, the right one stays the right one."""
    fields = {
        name: row[name] for name in ("prompt", "choices", "answer", "kind", "source", "domain", "subject")
    }
    return question_row(**(fields | {"round": "forge"} | changed))  # type: ignore[arg-type]


def verbatim(row: Row, rng: random.Random) -> Row:
    return again(row)


def other_spaces_and_case(row: Row, rng: random.Random) -> Row:
    prompt = "".join(rng.choice((c.upper(), c.lower())) for c in row["prompt"])
    return again(row, prompt="  " + prompt.replace(" ", rng.choice(("  ", "\t", " \u00a0 "))) + " ")


def other_punctuation(row: Row, rng: random.Random) -> Row:
    return again(row, prompt=row["prompt"].replace(".", " !").replace("?", " ?!").replace(":", " -- "))


def reordered_options(row: Row, rng: random.Random) -> Row:
    right, choices = answer_text(row), list(row["choices"])
    rng.shuffle(choices)
    return again(row, choices=choices, answer=str(choices.index(right)))


def other_wrong_options(row: Row, rng: random.Random) -> Row:
    choices = [answer_text(row), "none of these", "all of these"]
    return again(row, choices=choices, answer="0")


def without_options(row: Row, rng: random.Random) -> Row:
    return again(row, choices=None, answer=answer_text(row), kind="exact")


PLANTS = (
    verbatim,
    other_spaces_and_case,
    other_punctuation,
    reordered_options,
    other_wrong_options,
    without_options,
)


@functools.cache
def clean_questions(count: int) -> list[Row]:
    evaluation = EvaluationSet(evaluation_questions())
    made = make_questions(
        ["chemistry/symbol"], count, seed=9, accept=lambda row: evaluation.quick_match(row) is None
    )
    return made.to_pylist()


@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_planted_leak_is_found_and_nothing_else(seed: int, data: st.DataObject) -> None:
    rng = random.Random(seed)
    chosen = data.draw(
        st.lists(
            st.sampled_from(evaluation_rows()), min_size=1, max_size=6, unique_by=lambda r: r["question_id"]
        )
    )
    planted = [rng.choice(PLANTS)(row, rng) for row in chosen]
    mixed = [*planted, *rng.sample(clean_questions(20), 5)]
    rng.shuffle(mixed)
    found = EvaluationSet(evaluation_questions()).find(questions_table(mixed))
    assert {leak.question_id for leak in found} == {row["question_id"] for row in planted}
    for leak in found:
        assert leak.question_id in str(leak)


@pytest.mark.parametrize("number", range(PER_KIND))
def test_the_same_numbers_and_answer_in_other_words_are_a_leak(number: int) -> None:
    sums = [row for row in evaluation_rows() if row["domain"] == "arithmetic"]
    assert len(sums) == PER_KIND
    row = sums[number]
    expression = row["prompt"].split(":")[1].strip(" =")
    other = again(
        row, prompt=f"Work out {expression}, please", choices=None, answer=answer_text(row), kind="exact"
    )
    assert [leak.question_id for leak in EvaluationSet(evaluation_questions()).find(questions_table([other]))]


def test_a_sum_turned_round_is_a_leak_and_its_difference_is_not() -> None:
    def ask(text: str, answer: str) -> Row:
        return question_row(
            prompt=text, choices=None, answer=answer, kind="exact", source="s", domain="arithmetic",
            subject=None, round="r",
        )  # fmt: skip

    evaluation = EvaluationSet(questions_table([ask("What is 47 + 35?", "82")]))

    def reasons(row: Row) -> set[str]:
        return {leak.reason for leak in evaluation.find(questions_table([row]))} - {"split"}

    assert reasons(ask("35 + 47 = ?", "82")) == {"numbers"} or is_frozen(ask("35 + 47 = ?", "82"))
    assert reasons(ask("Take 35 from 47", "12")) == set()
    assert reasons(ask("47 + 36", "83")) == set()
    assert reasons(ask("What is 47 - 35?", "12")) == set()


def test_training_questions_share_nothing_with_held_out_ones() -> None:
    gap = find_target("arithmetic/chain_sum")
    held_out = held_out_questions(gap, 60, seed=3)
    assert all(map(is_frozen, held_out.to_pylist()))
    evaluation = EvaluationSet(held_out)
    made = make_training_questions(gap, evaluation, count=300, validation_count=30, seed=1, weights=(1, 4, 4))
    both = pa.concat_tables([made.train, made.validation])
    assert evaluation.find(both) == ()
    prompts = both["prompt"].to_pylist()
    assert len(set(prompts)) == len(prompts) == 330
    assert made.leaks
    assert all(leak.reason in ("same", "near", "numbers") for leak in made.leaks)
    levels = made.train["difficulty"].to_pylist()
    assert levels.count(1) > 2 * levels.count(0)


def test_the_same_seed_makes_the_same_questions_and_another_one_others() -> None:
    gap = find_target("arithmetic/chain_sum", levels=(1,))
    evaluation = EvaluationSet(questions_table([]))
    prints = [
        make_training_questions(gap, evaluation, count=40, validation_count=10, seed=seed).fingerprint
        for seed in (1, 1, 2)
    ]
    assert prints[0] == prints[1] != prints[2]


def test_a_gap_with_too_few_questions_is_refused() -> None:
    gap = find_target("chemistry/symbol")
    with pytest.raises(TooFewError, match="left to learn 'chemistry/symbol' from, 5000 were asked for"):
        make_training_questions(
            gap, EvaluationSet(questions_table([])), count=5_000, validation_count=10, seed=0
        )


@pytest.mark.parametrize("weights", [(1.0,), (0.0, 0.0, 0.0), (1.0, -1.0, 1.0)])
def test_weights_are_one_for_each_level(weights: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="3 weights of at least 0"):
        make_training_questions(
            find_target("arithmetic/chain_sum"), EvaluationSet(questions_table([])), count=30,
            validation_count=10, seed=0, weights=weights,
        )  # fmt: skip


@pytest.mark.parametrize(("name", "levels"), [("no/such", ()), ("arithmetic/chain_sum", (7,))])
def test_a_gap_that_nothing_makes_questions_for_is_refused(name: str, levels: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        find_target(name, levels=levels)
