"""Properties of made questions: one right answer, ids that do not depend on the seed, the same draw twice."""

import itertools
import json
import random
from collections import Counter

import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.questions import draft_choice, generator, list_generators, make_questions
from pipelines.questions.generator import _REGISTRY
from pipelines.questions.generators import reasoning
from warehouse import QUESTIONS, InputError, TooFewError, normalise_text, question_id

GENERATORS = list_generators()
CELLS = [(g, level) for g in GENERATORS for level in range(g.levels)]


def _without_time(table):
    return table.drop_columns(["created_at"])


@pytest.fixture(scope="module")
def made():
    return make_questions(
        domains=sorted({g.name for g in GENERATORS}), per_domain=9, seed=3, allow_fewer=True
    )


def test_schema_and_unique_ids_and_prompts(made):
    assert made.schema == QUESTIONS
    rows = made.to_pylist()
    assert len({row["question_id"] for row in rows}) == len(rows)
    assert len({normalise_text(row["prompt"]) for row in rows}) == len(rows)
    assert all(
        row["question_id"] == question_id(row["prompt"], row["choices"], row["answer"]) for row in rows
    )
    assert {row["domain"] for row in rows} == {g.domain for g in GENERATORS}


def test_choices_are_distinct_and_hold_the_answer(made):
    for row in made.to_pylist():
        if row["kind"] == "choice":
            folded = [normalise_text(choice) for choice in row["choices"]]
            assert 2 <= len(set(folded)) == len(folded) <= 4, row
            assert 0 <= int(row["answer"]) < len(folded)
            assert row["verifier"] is None
        else:
            assert row["choices"] is None
            assert row["kind"] == "verified"


def test_the_place_of_the_answer_does_not_give_it_away(made):
    places = Counter(
        int(row["answer"]) for row in made.to_pylist() if row["choices"] and len(row["choices"]) == 4
    )
    total = sum(places.values())
    assert all(abs(places[i] / total - 0.25) < 0.1 for i in range(4)), places


def test_free_form_rows_are_accepted_by_the_verifier_they_name():
    table = make_questions(["arithmetic/chain_sum_free", "strings/spell_backward_free"], per_domain=10)
    for row in table.to_pylist():
        verifier = json.loads(row["verifier"])
        name, dataset = verifier["name"].split(":")
        assert name == "reasoning_gym"
        score = reasoning_gym.get_score_answer_fn(dataset)
        assert score(row["answer"], verifier["payload"]) == 1.0
        assert score(row["answer"] + "7", verifier["payload"]) < 1.0


@settings(max_examples=40, deadline=None)
@given(
    task=st.sampled_from([t for t in reasoning._TASKS if t.wrong]), seed=st.integers(0, 2**20), data=st.data()
)
def test_the_verifier_accepts_the_answer_and_refuses_every_other_choice(task, seed, data):
    level = data.draw(st.integers(0, len(task.levels) - 1))
    entries = reasoning_gym.create_dataset(task.dataset, size=4, seed=seed, **task.levels[level])
    for entry in entries:
        draft = reasoning.draft_entry(entry, task.wrong, entries.score_answer)
        if draft is not None:
            assert entries.score_answer(draft.answer, entry) == 1.0
            assert draft.wrong
            assert all(entries.score_answer(text, entry) < 1.0 for text in draft.wrong)


@settings(max_examples=25, deadline=None)
@given(cell=st.sampled_from(CELLS), seeds=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
def test_the_same_prompt_has_the_same_options_under_every_seed(cell, seeds):
    known, level = cell
    drafts = [
        {d.key: d for d, _ in zip(known.draw(level, random.Random(seed)), range(30), strict=False)}
        for seed in seeds
    ]
    for key in drafts[0].keys() & drafts[1].keys():
        assert drafts[0][key].wrong == drafts[1][key].wrong
        assert drafts[0][key].answer == drafts[1][key].answer


@pytest.mark.parametrize(
    "cell",
    [cell for cell in CELLS if cell[0].source != "reasoning_gym"],
    ids=lambda cell: f"{cell[0].name}-{cell[1]}",
)
def test_a_generator_that_knows_facts_has_a_question_for_each_of_them(cell):
    known, level = cell
    drawn = list(itertools.islice(known.draw(level, random.Random(0)), 400))
    assert drawn
    assert all(draft.wrong for draft in drawn)


def test_the_same_seed_draws_the_same_and_another_draws_others():
    domains = ["geography", "arithmetic", "english"]
    first, again = (make_questions(domains, per_domain=12, seed=5) for _ in range(2))
    other = make_questions(domains, per_domain=12, seed=6)
    assert _without_time(first).equals(_without_time(again))
    assert set(first["question_id"].to_pylist()) != set(other["question_id"].to_pylist())


def test_levels_are_spread_evenly_and_can_be_chosen():
    spread = Counter(make_questions(["geography/capital"], per_domain=30)["difficulty"].to_pylist())
    assert spread == {0: 10, 1: 10, 2: 10}
    only = make_questions(["geography", "dates"], per_domain=10, difficulty=2)
    assert set(only["difficulty"].to_pylist()) == {2}


def test_excluded_questions_do_not_come_again():
    first = make_questions(["chemistry"], per_domain=60, seed=1)
    held = set(first["question_id"].to_pylist())
    second = make_questions(["chemistry"], per_domain=60, seed=1, exclude=held)
    assert second.num_rows == 60
    assert not held & set(second["question_id"].to_pylist())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"domains": ["astrology"]}, "astrology"),
        ({"per_domain": 0}, "per_domain is 0"),
        ({"domains": ["dates/days_in_month"], "difficulty": 5}, "difficulty 5"),
        ({"domains": ["chemistry/symbol"], "per_domain": 500}, "118 questions left, 500 asked for"),
    ],
)
def test_what_cannot_be_made_is_said(arguments, says):
    with pytest.raises((InputError, TooFewError), match=says):
        make_questions(**arguments)


def test_a_function_with_the_decorator_is_all_that_a_new_generator_takes():
    try:

        @generator(domain="music", source="notes", levels=2)
        def intervals(level, rng):
            """How many semitones an interval spans."""
            for name, span in [("third", "4"), ("fifth", "7")]:
                yield draft_choice(
                    f"How many semitones has a {name} ({level})?", span, ["1", "2", "3", "4", "7"]
                )

        table = make_questions(["music"], per_domain=4)
        assert table["subject"].to_pylist() == ["intervals"] * 4
        with pytest.raises(TooFewError, match="4 questions left"):
            make_questions(["music"], per_domain=5)
        assert make_questions(["music"], per_domain=5, allow_fewer=True).num_rows == 4
    finally:
        _REGISTRY.pop("music/intervals", None)


def test_known_facts_come_out_right():
    table = make_questions(["geography/capital", "chemistry/symbol"], per_domain=150, allow_fewer=True)
    answers = {row["prompt"]: row["choices"][int(row["answer"])] for row in table.to_pylist()}
    assert answers["What is the capital of France?"] == "Paris"
    assert answers["What is the capital of the United States?"] == "Washington"
    assert answers["What is the chemical symbol of iron?"] == "Fe"


#: Few letters, so that options that differ by case or spaces alone come up.
_TEXT = st.text("aAbB ", min_size=1, max_size=3)


@settings(max_examples=50, deadline=None)
@given(pool=st.lists(_TEXT), answer=_TEXT, prompt=_TEXT)
def test_no_wrong_option_reads_like_the_answer(pool, answer, prompt):
    others = {normalise_text(text) for text in pool} - {normalise_text(answer)}
    if not others:
        with pytest.raises(ValueError, match="no wrong option"):
            draft_choice(prompt, answer, pool)
        return
    draft = draft_choice(prompt, answer, pool)
    folded = [normalise_text(text) for text in draft.wrong]
    assert len(folded) == len(set(folded)) == min(3, len(others))
    assert normalise_text(answer) not in folded
