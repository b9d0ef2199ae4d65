"""Numbers as they are written, and which of those in a reply is the one that it states."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.grading.exact import matches, reference_kind
from experts.grading.numbers import parse_number, stated_number

RIGHT = [  # reference, reply
    ("1234", "The answer is 1,234."),
    ("1234", "The answer is 1 234."),
    ("1234", "The answer is 1\u202f234."),
    ("1234", "1\u2009234"),
    ("1234", "The answer is 1'234."),
    ("1234567", "#### 1 234 567"),
    ("100000", "The answer is 1,00,000."),
    ("1234.56", "The answer is 1.234,56 €."),
    ("1,234", "1234"),
    ("1 234", "1234"),
    ("2.5", "2,5"),
    ("0.5", "1/2"),
    ("1/2", "0.5"),
    ("1/2", "The answer is 0.5."),
    ("3/4", "The answer is 75/100."),
    ("1/2", "\\boxed{\\frac{1}{2}}"),
    ("0.5", "The answer is 1/2 of the cake."),
    ("3/2", "The answer is 1 1/2."),
    ("1.5", "The answer is 1½ cups."),
    ("12", "The answer is 12 apples."),
    ("12 apples", "The answer is 12."),
    ("12 apples", "12 red apples in total"),
    ("12 cm", "12"),
    ("12 cm", "12 centimetres"),
    ("12", "12cm"),
    ("18 dollars", "$18"),
    ("5", "The answer is 5 m^2."),
    ("18", "The answer is $18 per day, for 7 days."),
    ("18", "The answer is $18 (2 * 9 = 18)."),
    ("18", "#### 18 (that is 9 + 9)"),
    ("18", "#### 18\nI hope this helps with all 3 questions!"),
    ("70000", "The answer is $70,000 profit after 2 years."),
    ("20", "The answer is 20 out of 30 days."),
    ("75%", "75"),
    ("0.75", "75%"),
    ("-3", "The answer is \u22123."),
    ("-5", "The answer is -$5."),
    ("29", "**Answer:** $29.00"),
    ("7", "The answer is 3 + 4 = 7."),
    ("12", "The answer is 15 - 3 = 12 apples."),
    ("5", "The answer is x = 5 when y = 3."),
    ("3", "The answer is not 5 but 3."),
    ("7", "She has 3 apples and 4 pears, so 7 fruits."),
    ("5000000", "The answer is 5 million."),
    ("300000000", "3×10⁸"),
    ("1024", "2^10 = 1024"),
    ("70", "The answer is 70 miles per hour, or 112 km/h"),
    ("12 Monkeys", "12 Monkeys"),
    ("5", "\\boxed{5 \\text{ cm}}"),
    ("1000", "1,000.00"),
    ("42", '{"steps": ["6*7"], "answer": 42, "confidence": 0.9}'),
]
WRONG = [
    ("5", "The answer is 50."),
    ("12", "The answer is 1/2."),
    ("3", "The answer is 4 (not 3)."),
    ("5", "The answer is not 5 but 3."),
    ("12 cm", "12 m"),
    ("18 dollars", "18 euros"),
    ("12 Monkeys", "12 Angry Men"),
    ("4", "\\sqrt{4}"),
    ("7", "12 - 5"),
    ("3", "3:45"),
    ("1/3", "0.333"),
    ("7", "<think>The answer is 7"),
]


@pytest.mark.parametrize(("answer", "text"), RIGHT)
def test_the_number_that_is_stated_counts(answer: str, text: str) -> None:
    assert matches(text, answer)


@pytest.mark.parametrize(("answer", "text"), WRONG)
def test_another_number_is_wrong(answer: str, text: str) -> None:
    assert not matches(text, answer)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("12 cm", "numeric"),
        ("1 1/2", "numeric"),
        ("2024-05-01", "exact"),
        ("3 May", "exact"),
        ("12th", "exact"),
        ("1990s", "exact"),
        ("2x", "symbolic"),
        ("5:30", "exact"),
        ("1, 2, 3", "exact"),
        ("21st century", "exact"),
    ],
)
def test_what_a_reference_is_compared_as(answer: str, kind: str) -> None:
    assert reference_kind(answer) == kind


def groups(digits: str, sizes: tuple[int, ...], mark: str) -> str:
    parts: list[str] = []
    while digits:
        size = sizes[min(len(parts), len(sizes) - 1)]
        parts.insert(0, digits[-size:])
        digits = digits[:-size]
    return mark.join(parts)


SPELLINGS = (
    lambda n, cents: f"{n}.{cents:02}",
    lambda n, cents: f"{n:,}.{cents:02}",
    lambda n, cents: groups(str(n), (3,), ".") + f",{cents:02}",
    lambda n, cents: groups(str(n), (3,), " ") + f",{cents:02}",
    lambda n, cents: groups(str(n), (3,), "\u202f") + f".{cents:02}",
    lambda n, cents: groups(str(n), (3,), "\u00a0") + f",{cents:02}",
    lambda n, cents: groups(str(n), (3,), "'") + f".{cents:02}",
    lambda n, cents: groups(str(n), (3, 2), ",") + f".{cents:02}",
    lambda n, cents: groups(str(n), (3,), "{,}") + f".{cents:02}",
    lambda n, cents: f"{n}.{cents:02}".translate(str.maketrans("0123456789", "０１２３４５６７８９")),
    lambda n, cents: f"{n * 100 + cents}e-2",
    lambda n, cents: f"{n * 100 + cents}/100",
    lambda n, cents: f"\\frac{{{n * 100 + cents}}}{{100}}",
)
FRAMES = (
    "{}",
    "The answer is {}.",
    "#### {}",
    "\\boxed{{{}}}",
    "**Answer:** ${}$",
    "The answer is {} cm, in 3 steps.",
    '{{"answer": "{}", "confidence": 0.9}}',
    "<answer>{} dollars</answer> of 100",
    "The answer is 5 + 6 = {} (of 30).",
)


@given(
    st.integers(0, 10**12),
    st.integers(0, 99),
    st.booleans(),
    st.sampled_from(["-", "\u2212"]),
    st.sampled_from(SPELLINGS),
    st.sampled_from(FRAMES),
)
def test_any_spelling_in_any_frame_is_read_back(n, cents, negative, minus, spelling, frame) -> None:
    written = (minus if negative and n else "") + spelling(n, cents)
    if "\\" in written and "answer" in frame and "{{" in frame:
        written = written.replace("\\", "\\\\")
    value = Fraction(n * 100 + cents, 100) * (-1 if negative and n else 1)
    reference = f"{'-' if value < 0 else ''}{n}.{cents:02}"
    text = frame.format(written)
    assert matches(text, reference), (text, reference)
    assert not matches(text, f"{reference}1"), text


@given(
    st.integers(0, 999), st.integers(1, 40), st.integers(2, 60), st.sampled_from(["{} {}/{}", "{} and {}/{}"])
)
def test_mixed_numbers(whole: int, above: int, below: int, spelling: str) -> None:
    number = parse_number(spelling.format(whole, above, below))
    assert number is not None
    assert number.value == whole + Fraction(above, below)


@given(st.text(alphabet="0123456789.,'/ -+^eE$%½¼x=()\u202f\\{}", max_size=60))
def test_no_text_is_too_odd(text: str) -> None:
    for number in (parse_number(text), stated_number(text), stated_number(text, prose=True)):
        assert number is None or isinstance(str(number), str)


@pytest.mark.parametrize(
    ("text", "reference", "right"),
    [
        ("18 or 19", "18", False),
        ("The answer is 18 eggs or 19.", "18", False),
        ("between 17 and 18", "17", False),
        ("The answer is between 17 and 18.", "18", False),
        ("1/2 or 0.5", "0.5", True),
        ("minus 5", "-5", True),
        ("The answer is negative 5.", "-5", True),
        ("7 minus 5 is 2", "2", True),
        ("The answer is US$2.5M.", "2500000", True),
        ("The answer is 2k.", "2000", True),
        ("5 m", "5 m", True),
    ],
)
def test_two_numbers_state_neither_and_signs_and_scales_may_be_words(text, reference, right) -> None:
    assert matches(text, reference) is right
