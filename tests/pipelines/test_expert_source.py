"""Questions that an expert writes: the right ones stay, the others go with a reason, all is charged."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.catalogue.spec import ExpertSpec
from pipelines.questions import make_questions
from pipelines.questions.brief import Brief, GapBrief
from pipelines.questions.sources.base import Request, is_frozen
from pipelines.questions.sources.expert import ExpertSource
from pipelines.questions.sources.written_text import Written, parse_written, verify_arithmetic
from warehouse import InputError, Warehouse

PRICE = {"usd_per_mtok_in": 1.0, "usd_per_mtok_out": 2.0}


def written(prompt, *choices, answer):
    options = [f"{letter}. {text}" for letter, text in zip("ABCD", choices, strict=False)]
    return "\n".join([prompt, *options, f"Answer: {answer}"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Question: What is 1 + 1?\nA. 1\nB. 2\nAnswer: B", Written("What is 1 + 1?", ("1", "2"), 1)),
        ("**Question:** Who wrote Lear?\n\nA) Kyd\nB) Will\n\n**Answer:** B) Will",
         Written("Who wrote Lear?", ("Kyd", "Will"), 1)),
        ("Two\nlines here?\n(A) x\n(B) y\nThe answer is A", Written("Two lines here?", ("x", "y"), 0)),
        ("What is it?\nA. x\nB. y", "no answer is named"),
        ("Just text that goes on and on.", "no options"),
        ("What is it?\nA. x\nB. y\nAnswer: C", "the answer C is none of the 2 options"),
        ("What is it?\nA. same\nB. Same\nAnswer: A", "two options are alike"),
        ("What is it?\nA. x\nand so on\nB. y\nAnswer: A", "text among the options"),
        ("A. x\nB. y\nAnswer: A", "no question before the options"),
    ],
)  # fmt: skip
def test_what_a_model_writes_is_read_or_refused_with_a_reason(text, found):
    assert parse_written(text) == found


@pytest.mark.parametrize(
    ("prompt", "answer", "right"),
    [
        ("What is 12 + 30?", "42", True),
        ("What is 12 + 30?", "43", False),
        ("Calculate 7 × 6 - 2.", "40", True),
        ("What is the value of 1/4 + 1/4?", "0.5", True),
        ("What is twice 3 + 4?", "7", None),  # another question than the sum in it
        ("A man of 30 has 4 + 2 sons. How many?", "6", None),
        ("Who was born in 1879?", "Einstein", None),
        ("What is 9 / 0?", "9", None),
    ],
)
def test_sums_are_checked_by_a_program(prompt, answer, right):
    assert verify_arithmetic(prompt, answer) is right


OPTION_LINES = st.builds("{}. {}".format, st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), st.text(max_size=8))
LINES = st.one_of(OPTION_LINES, st.text(max_size=30), st.sampled_from(["Answer: B", "Question: x", "", "**"]))


@given(st.lists(LINES, max_size=40).map("\n".join))
def test_whatever_a_model_writes_is_read_or_refused(text):
    found = parse_written(text)
    if isinstance(found, Written):
        assert 0 <= found.answer < len(found.choices)
    else:
        assert found


def test_more_options_than_letters_are_refused_in_words():
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    text = "\n".join(["Which one of all is it?", *(f"{x}. {x * 2}" for x in letters), "A. more", "Answer: A"])
    assert parse_written(text) == "text among the options"


SUMS = st.text(alphabet="0123456789 .+-*/()×÷", max_size=40)


@given(st.one_of(SUMS, st.text(max_size=20)), st.one_of(SUMS, st.text(max_size=20)))
def test_no_sum_and_no_answer_to_it_ends_a_round(expression, answer):
    assert verify_arithmetic(f"What is {expression}?", answer) in (True, False, None)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("1 + 1", "1e999999999"),
        ("+".join("1" * 5000), "5000"),
        ("(" * 300 + "1 + 1" + ")" * 300, "2"),
        ("1 + 1", "٢"),
    ],
)
def test_a_sum_that_cannot_be_worked_out_is_left_to_the_others(expression, answer):
    assert verify_arithmetic(f"What is {expression}?", answer) in (None, True)


@pytest.fixture
def shelf(tmp_path):
    """A warehouse with questions that may serve as examples, and a gap among them."""
    warehouse = Warehouse(tmp_path / "warehouse")
    questions = make_questions(["geography/capital"], 30)
    warehouse.append("questions", questions, round="r0")
    gap = GapBrief(
        "capitals", ("geography",), "Ask about capitals.", tuple(questions["question_id"].to_pylist()[:3])
    )
    return warehouse, Brief((), (gap,))


def specs(url, *names):
    return [
        ExpertSpec(name=name, backend="openai", model=name, base_url=url, scoring="generate", price=PRICE)
        for name in names
    ]


def not_frozen(template, choices, answer):
    """Prompts of a template whose hash lets them be learned from."""
    for i in itertools.count(10):
        prompt = template.format(i)
        if not is_frozen({"prompt": prompt, "choices": list(choices(i))}):
            yield written(prompt, *choices(i), answer=answer(i))


@pytest.mark.e2e
def test_agreement_lets_in_and_doubt_refuses(shelf, scripted_server, ray_cluster):
    warehouse, brief = shelf
    agreed = not_frozen(
        "Which city is the seat of government number {}?", lambda i: ("Oslo", "Rome"), lambda i: "A"
    )
    doubted = not_frozen(
        "Which village is the largest of district {}?", lambda i: ("Foo", "Bar"), lambda i: "A"
    )
    sums = not_frozen("What is {} + 1?", lambda i: (str(i), str(i + 1)), lambda i: "B")
    wrong = not_frozen("What is {} + 2?", lambda i: (str(i), str(i + 2)), lambda i: "A")
    replies = itertools.cycle([agreed, doubted, sums, wrong, iter(lambda: "I would rather not.", None)])
    prompts = []

    def script(model, prompt):
        if model == "writer":
            prompts.append(prompt)
            return next(next(replies))
        if "village" in prompt:  # the validators do not agree
            return "B" if model == "two" else "A"
        return "A"

    url = scripted_server(script)
    writer, *validators = specs(url, "writer", "one", "two")
    source = ExpertSource(writer.model_copy(update={"concurrency": 1}), validators, warehouse)
    made = source.make(Request(10, "r1", seed=0, brief=brief))
    rows = made.questions.to_pylist()
    assert {row["prompt"].split()[1] for row in rows} == {"city", "is"}
    assert all(row["source"] == "expert:writer" and row["domain"] == "geography" for row in rows)
    assert all(row["parent_id"] in brief.gaps[0].example_ids for row in rows)
    assert "Ask about capitals." in prompts[0]
    assert prompts[0].count("Answer: ") == 3  # few-shot
    reasons = {(refusal.reason, refusal.detail) for refusal in made.refusals}
    assert ("malformed", "no options") in reasons
    assert ("unvalidated", "1 of 2 experts agree, 2 must") in reasons
    assert ("unvalidated", "a program finds it wrong") in reasons
    assert len(rows) + len(made.refusals) == 20
    # The validators' answers to what stayed are answers of the round; a sum needed none.
    kept = {row["question_id"] for row in rows if "city" in row["prompt"]}
    sums_kept = {row["question_id"] for row in rows} - kept
    answers = warehouse.scan("answers").to_pylist()
    by_validators = [row for row in answers if row["expert"] in ("one", "two")]
    assert [row["score"] for row in by_validators if row["question_id"] in kept] == [1.0] * 2 * len(kept)
    assert not sums_kept & {row["question_id"] for row in by_validators}
    assert {row["expert"] for row in answers} == {"writer.writer", "one", "two"}
    assert all(row["round"] == "r1" and row["cost_usd"] > 0 for row in answers)
    # Made again, as after a kill: the same questions, and nothing is asked or paid for a second time.
    warehouse.append("questions", made.questions, round="r1")
    again = source.make(Request(10, "r1", seed=0, brief=brief))
    assert again.questions["question_id"].to_pylist() == [row["question_id"] for row in rows]
    assert len(prompts) == 20
    assert warehouse.scan("answers").num_rows == len(answers)


@pytest.mark.e2e
def test_a_budget_is_never_passed(shelf, scripted_server, ray_cluster):
    warehouse, brief = shelf
    endless = not_frozen(
        "Which city is the seat of government number {}?", lambda i: ("Oslo", "Rome"), lambda i: "A"
    )
    url = scripted_server(lambda model, prompt: next(endless) if model == "writer" else "A")
    writer, *validators = specs(url, "writer", "one", "two")
    source = ExpertSource(writer, validators, warehouse)

    def spent(round):
        return sum(row["cost_usd"] for row in warehouse.scan("answers").to_pylist() if row["round"] == round)

    free = source.make(Request(12, "r1", seed=0, brief=brief))
    poor = source.make(Request(12, "r2", seed=1, brief=brief, budget_usd=spent("r1") * 2 / 3))
    assert 0 < spent("r2") <= spent("r1") * 2 / 3
    assert poor.questions.num_rows < free.questions.num_rows
    assert "the budget is spent" in {refusal.detail for refusal in poor.refusals}


def test_without_a_gap_or_for_the_frozen_set_nothing_is_written(shelf):
    warehouse, brief = shelf
    source = ExpertSource(*_three("http://127.0.0.1:9/v1"), warehouse)
    assert source.make(Request(4, "r1", seed=0)).questions.num_rows == 0
    assert source.make(Request(4, "frozen", seed=0, brief=brief, frozen=True)).questions.num_rows == 0
    with pytest.raises(InputError, match="1 expert to validate"):
        ExpertSource(specs("http://x.example/v1", "a")[0], specs("http://x.example/v1", "b"), warehouse)


def _three(url):
    writer, *validators = specs(url, "writer", "one", "two")
    return writer, validators


@pytest.mark.e2e
def test_a_real_small_model_writes_and_little_of_it_stays(shelf, scripted_server, ray_cluster):
    """What it writes is up to it: each piece was confirmed by the others, or has a reason not to be."""
    warehouse, brief = shelf
    writer = ExpertSpec(
        name="smollm2", backend="vllm", model="bundled:smollm2-135m-instruct", scoring="cloze",
        context_tokens=1024, engine={"enforce_eager": True}, price=PRICE,
    )  # fmt: skip
    validators = specs(scripted_server(lambda model, prompt: "A"), "one", "two")
    made = ExpertSource(writer, validators, warehouse).make(Request(6, "r1", seed=0, brief=brief))
    assert sum(warehouse.scan("answers")["cost_usd"].to_pylist()) > 0
    assert {refusal.reason for refusal in made.refusals} <= {"malformed", "unvalidated"}
    assert not [r for r in made.refusals if "Error" in r.detail], "the model answered every prompt"
    assert 0 < len(made.refusals) + made.questions.num_rows <= 12
    for row in made.questions.to_pylist():
        assert row["answer"] == "0"  # what both validators chose
        assert len(row["choices"]) >= 2
        assert not is_frozen(row)
