from __future__ import annotations

import json
import os
import signal
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts import grade
from experts.backends.base import RawAnswer, raw_table
from experts.grading.exact import matches
from experts.grading.verifying import is_harmless
from warehouse import InputError

CHOICE = {"prompt": "2 + 2?", "choices": ["3", "4"], "answer": "1"}


def graded(questions_of, row, answer: RawAnswer) -> tuple[float | None, str | None]:
    questions = questions_of([row])
    table = grade(questions, raw_table(questions["question_id"].to_pylist(), [answer]))
    return table["score"][0].as_py(), table["grader"][0].as_py()


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        (RawAnswer(choice=1), 1.0),
        (RawAnswer(choice=0), 0.0),
        (RawAnswer(text="no idea"), 0.0),
        (RawAnswer(error="Timeout: 5 s"), None),
    ],
)
def test_choice(questions_of, answer: RawAnswer, score: float | None) -> None:
    found, grader = graded(questions_of, CHOICE, answer)
    assert found == score
    assert grader == (None if answer.error else "choice@3")


@pytest.mark.parametrize("answer", ["7", "B", ""])
def test_a_question_without_a_right_option_is_unscored(questions_of, answer: str) -> None:
    assert graded(questions_of, {**CHOICE, "answer": answer}, RawAnswer(choice=1))[0] is None


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("Paris", "paris", True),
        ("Paris.\n\nQuestion: ...", "Paris", True),
        ("It is Paris", "Paris", False),
        ("The answer is 1,000.", "1000", True),
        ("#### 12.50", "12.5", True),
        ("It costs 3 and then 4", "4", True),
        ("$18", "18", True),
        ("18 dollars", "18", True),
        ("19", "18", False),
        ("", "18", False),
        ("-3", "3", False),
        ("½", "1⁄2", True),
        ("\\boxed{\\frac{1}{2}}", "0.5", True),
        ("3/4", "0.75", True),
        ("3/4", "4", False),
        ("1/0", "4", False),
        ("3/4", "1e999999999", False),
        ("NaN", "nan", True),
        # What chat models write around an answer.
        ("**Paris**", "Paris", True),
        ("The answer is **Paris**.", "Paris", True),
        ("The answer is: Paris.", "Paris", True),
        ("The correct answer to the question is Paris.", "Paris", True),
        ("**Answer:** Paris", "Paris", True),
        ("### Final Answer\n\n**Paris**", "Paris", True),
        ("#### Step 2: think\nThe answer is Paris.", "Paris", True),
        ("The answer is Paris. It is the capital of France.", "Paris", True),
        ("The answer is Paris, because it is the capital.", "Paris", True),
        ("The answer is Dr. Watson.", "Dr. Watson", True),
        ("The answer is Washington, D.C.", "Washington, D.C.", True),
        (r"\boxed{\text{Paris}}", "Paris", True),
        (r"\[ \boxed{\text{Paris}} \]", "Paris", True),
        ('"Paris"', "Paris", True),
        ("<think>The answer is Rome? No.</think>\nParis", "Paris", True),
        ("The answer is **Rome**, not Paris.", "Paris", False),
        ("The answer is not Paris.", "Paris", False),
        ("Some say the answer is Paris, but the answer is Rome.", "Paris", False),
        ("The answer is: 42", "42", True),
        ("The answer is 5, not 8.", "5", True),
        ("The answer is 5, not 8.", "8", False),
        ("The answer is 42. Ask me 3 more questions!", "42", True),
        ("The answer is \u22123.", "-3", True),
        ("#### 5 m^2", "5", True),
        ("#### 5 m^2", "2", False),
        (r"#### 5 $m^{-2}$", "5", True),
        ("The answer is 9.8 m/s^2", "9.8", True),
        ("The answer is 12 CO2 molecules", "12", True),
        (r"\boxed{1{,}000}", "1000", True),
        (r"\boxed{1{,}000}", "0", False),
        (r"\boxed{1,\!000\text{ m}^2}", "1000", True),
        ("so x_1 = 7", "7", True),
        (r"The answer is $3 \times 10^8$ m/s.", "3e8", True),
        (r"The answer is $3 \times 10^8$ m/s.", "8", False),
        ("2^10", "10", False),
        ("2^10", "2", False),
    ],
)
def test_exact(text: str, answer: str, right: bool) -> None:
    assert matches(text, answer) is right


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("x^2 + 2x + 1", "(x+1)^2", True),
        (r"\boxed{\frac{\sqrt{2}}{2}}", r"\frac{1}{\sqrt{2}}", True),
        ("x = 3", "x=3", True),
        (r"\{2, 1\}", r"\{1, 2\}", True),
        ("(1,2)", "(2, 1)", False),
        ("x*2", "2x", True),
        (r"The answer is $5x$.", "x*5", True),
        ("x^2 + 1", "(x+1)^2", False),
        ("I do not know", r"\frac{1}{x}", False),
        ("", "2x", False),
    ],
)
def test_formulas_compare_by_meaning(questions_of, text: str, answer: str, right: bool) -> None:
    row = {"prompt": "?", "answer": answer}
    assert graded(questions_of, row, RawAnswer(text=text)) == (float(right), "symbolic@3")


def test_the_way_of_grading_is_the_references(questions_of) -> None:
    for answer, grader in (("12.5", "numeric@3"), ("well-known", "exact@3"), ("2x+1", "symbolic@3")):
        found = graded(questions_of, {"prompt": "?", "answer": answer}, RawAnswer(text=answer))
        assert found == (1.0, grader)


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("2024-01-05", "2024-05-01", False),
        ("The date is given.\nThe answer is 2024-05-01.", "2024-05-01", True),
        ("5/1/2024", "1/5/2024", False),
        ("1-0", "3-2", False),
        ("The answer is 3-4.", "1-2", False),
        ("1914-1918", "1939-1943", False),
        ("1914\u20131918", "1914-1918", True),
        ("O2H", "H2O", False),
        ("**H2O**", "H2O", True),
        ("D3", "3D", False),
    ],
)
def test_dates_scores_ranges_and_codes_are_words(questions_of, text: str, answer: str, right: bool) -> None:
    row = {"prompt": "?", "answer": answer}
    assert graded(questions_of, row, RawAnswer(text=text)) == (float(right), "exact@3")


def test_a_formula_that_never_ends_is_unscored(questions_of, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"prompt": "?", "answer": "(x+1)^2"}
    for limit, never_enough in (("_CPU_S", 1e-6), ("_DEADLINE_S", 0)):
        with monkeypatch.context() as patched:
            patched.setattr(f"experts.grading.symbolic.{limit}", never_enough)
            assert graded(questions_of, row, RawAnswer(text="x^2+2x+1")) == (None, "symbolic@3"), limit
        assert graded(questions_of, row, RawAnswer(text="x^2+2x+1")) == (1.0, "symbolic@3")  # a new process


def test_a_machine_busy_with_other_things_does_not_decide_what_is_right(questions_of) -> None:
    from experts.grading.symbolic import _CHECKER

    row = {"prompt": "?", "answer": "(x+1)^2"}
    assert graded(questions_of, row, RawAnswer(text="x^2+2x+1")) == (1.0, "symbolic@3")
    assert _CHECKER._process is not None
    worker = _CHECKER._process.pid
    os.kill(worker, signal.SIGSTOP)  # as good as never having its turn
    goes_on = threading.Timer(7.0, os.kill, (worker, signal.SIGCONT))
    goes_on.start()
    try:
        assert graded(questions_of, row, RawAnswer(text="x^2+2x+1")) == (1.0, "symbolic@3")
    finally:
        goes_on.join()


@pytest.mark.parametrize("text", ["9^{9^{9^{9}}}", "\\frac{" * 150, "x^{2^{100000}}", "1000000!"])
def test_hostile_formulas_do_not_stop_the_grader(questions_of, text: str) -> None:
    row = {"prompt": "?", "answer": "x^2"}
    assert graded(questions_of, row, RawAnswer(text=text))[0] in (0.0, None)
    assert graded(questions_of, row, RawAnswer(text="x*x"))[0] == 1.0


@given(st.text(), st.text())
def test_exact_never_fails(text: str, answer: str) -> None:
    assert matches(text, answer) in (True, False)


@given(st.integers(-(10**9), 10**9))
def test_numbers_compare_by_value(n: int) -> None:
    assert matches(f"The answer is {n:,}.0", str(n))
    assert not matches(f"The answer is {n + 1:,}", str(n))


def verified(dataset: str) -> tuple[dict, dict]:
    import reasoning_gym

    entry = reasoning_gym.create_dataset(dataset, size=1, seed=3)[0]
    row = {
        "prompt": entry["question"],
        "answer": str(entry["answer"]),
        "kind": "verified",
        "verifier": json.dumps({"name": f"reasoning_gym:{dataset}", "payload": entry}, default=str),
    }
    return row, entry


@pytest.mark.parametrize("dataset", ["basic_arithmetic", "leg_counting", "number_sorting", "countdown"])
def test_verified_uses_the_verifier_itself(questions_of, dataset: str) -> None:
    row, entry = verified(dataset)
    assert graded(questions_of, row, RawAnswer(text=str(entry["answer"]))) == (
        1.0,
        f"reasoning_gym:{dataset}@2",
    )
    wrong = graded(questions_of, row, RawAnswer(text="certainly not this"))[0]
    assert wrong is not None
    assert wrong < 0.1


@pytest.mark.parametrize(
    "verifier",
    [None, "", "not json", "[]", '{"name": "os:system", "payload": {}}', '{"name": "reasoning_gym:no"}'],
)
def test_a_broken_verifier_leaves_the_answer_unscored(questions_of, verifier: str | None) -> None:
    row, _ = verified("leg_counting")
    assert graded(questions_of, {**row, "verifier": verifier}, RawAnswer(text="4"))[0] is None


@pytest.mark.parametrize("text", ["__import__('os').system('true')", "9" * 5000, "9**9**9**9", "exit()"])
def test_hostile_text_does_not_reach_the_verifier(questions_of, text: str) -> None:
    row, _ = verified("countdown")
    assert graded(questions_of, row, RawAnswer(text=text))[0] is None


def test_judged_is_unscored(questions_of) -> None:
    row = {"prompt": "Write a poem", "answer": "", "kind": "judged"}
    assert graded(questions_of, row, RawAnswer(text="Roses")) == (None, None)


def test_rows_must_belong_together(questions_of) -> None:
    with pytest.raises(InputError):
        grade(questions_of([CHOICE]), raw_table(["other"], [RawAnswer(choice=1)]))


HONEST = (
    "(3 + 4) * 2",
    "x**3 + 2*x**2",
    "[['Q', '_'], ['_', 'Q']]",
    "sin(x)/2 + C",
    "Paris",
    "2 and 3",
    "",
    "5!",
)
HONEST += (
    "Zoey is a knight, and Owen (her friend) is a knave.",
    "-x**(-2)",
    "1,2,3",
    "exp(x**2)",
    "(" * 3000,
)
HOSTILE = (
    "open('x', 'w')",
    "5! + open('x')",
    "().__class__",
    "x.y",
    "[0] * 10**9",
    "'a' * 99999",
    "2**(9**9)",
)
HOSTILE += (
    "9**9**9",
    "10**1000000",
    "99999999!",
    "(9*9*9*9)!",
    "1 << 99999",
    "lambda: 0",
    "[i for i in 'a']",
)
HOSTILE += ("(x := 3)", "f'{1}'", "exec('1')", "9" * 100, "1e999999999", "a if b else c", "print(1)")


@pytest.mark.parametrize("text", HONEST)
def test_honest_answers_pass_the_gate(text: str) -> None:
    assert is_harmless(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_could_do_harm_does_not(text: str) -> None:
    assert not is_harmless(text)


@given(st.text(max_size=200))
def test_the_gate_always_answers(text: str) -> None:
    assert is_harmless(text) in (True, False)
