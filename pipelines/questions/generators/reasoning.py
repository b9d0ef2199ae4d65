"""Procedural tasks of ``reasoning_gym`` (Stojanovski et al. 2025); a program checks the answer of each.

Asked as multiple choice where the answer is short; every wrong option is shown to the checker, which must
refuse it. A few stay free-form (kind ``verified``), with the checker's name and the task's entry as the
payload. To add a task, add one entry to ``_TASKS``.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from pipelines.questions.draft import Draft, draft_choice
from pipelines.questions.generator import generator

Entry = dict[str, Any]
#: ``wrong(entry, rng)`` yields texts like the entry's answer; those that the checker accepts are dropped
#: later.
Wrong = Callable[[Entry, random.Random], Iterable[str]]
#: Entries that one draw offers at most; a draw is over long before that.
_SIZE = 5_000


def near_numbers(entry: Entry, rng: random.Random) -> Iterator[str]:
    """Numbers off by one, two or ten units of the answer's last place, or with two digits swapped."""
    text = entry["answer"]
    answer = Decimal(text)
    unit = Decimal(1).scaleb(int(answer.as_tuple().exponent))
    near = [answer + unit * k for k in (-10, -2, -1, 1, 2, 10)]
    swaps = [i for i in range(len(text) - 1) if text[i : i + 2].isdigit()]
    near += [Decimal(text[:i] + text[i + 1] + text[i] + text[i + 2 :]) for i in swaps]
    yield from (f"{number:f}" for number in near if number >= 0 or answer < 0)


def near_fractions(entry: Entry, rng: random.Random) -> Iterator[str]:
    """Fractions whose numerator or denominator is off by one or two."""
    value = Fraction(entry["answer"])
    for up, down in itertools.product((-2, -1, 0, 1, 2), repeat=2):
        if value.numerator + up > 0 and value.denominator + down > 1:
            yield f"{value.numerator + up}/{value.denominator + down}"


def other_orders(entry: Entry, rng: random.Random) -> Iterator[str]:
    """The answer's own parts (the words of a list, else the letters) with two of them swapped."""
    separator = ", " if ", " in entry["answer"] else ""
    parts = entry["answer"].split(separator) if separator else list(entry["answer"])
    for i, j in itertools.combinations(range(len(parts)), 2):
        swapped = list(parts)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        yield separator.join(swapped)


def other_names(entry: Entry, rng: random.Random) -> Iterator[str]:
    """The first word of every other statement."""
    statements = entry["question"].split("\n")[0].split(". ")
    yield from (statement.split()[0] for statement in statements if statement.strip())


def other_roles(entry: Entry, rng: random.Random) -> Iterator[str]:
    """The same people with their roles given out in every other way."""
    names, terms = entry["metadata"]["names"], entry["metadata"]["knight_knave_terms"]
    for roles in itertools.product((terms["a_knight"], terms["a_knave"]), repeat=len(names)):
        parts = [f"{name} is {role}" for name, role in zip(names, roles, strict=True)]
        yield ", ".join(parts[:-1]) + f", and {parts[-1]}."


def one_of(*options: str) -> Wrong:
    """A fixed set of answers."""
    return lambda entry, rng: options


_PARENTS = ("mother", "father", "grandmother", "grandfather", "mother-in-law", "father-in-law")
_RELATIVES = one_of(
    *_PARENTS, "sister", "brother", "daughter", "son", "granddaughter", "grandson", "wife", "husband"
)


@dataclass(frozen=True)
class Task:
    """One dataset: how it is set at each level, and what its wrong options are (None: free-form)."""

    domain: str
    dataset: str
    summary: str
    levels: tuple[dict[str, Any], ...]
    wrong: Wrong | None
    subject: str | None = None
    default: bool = False


def _between(name: str, *spans: tuple[int, int], **fixed: Any) -> tuple[dict[str, Any], ...]:
    """Return one configuration per span: ``min_<name>`` and ``max_<name>``, and what is fixed."""
    return tuple({f"min_{name}": low, f"max_{name}": high, **fixed} for low, high in spans)


_TASKS = (
    Task("arithmetic", "chain_sum", "Sums and differences: more digits, then more terms.",
         (*_between("digits", (1, 1), (2, 2), min_terms=2, max_terms=2),
          *_between("digits", (2, 3), min_terms=3, max_terms=4)), near_numbers, default=True),
    Task("arithmetic", "products", "Products of two numbers.", _between("digits", (1, 1), (1, 2), (2, 3)),
         near_numbers, default=True),
    Task("arithmetic", "gcd", "The greatest common divisor of two numbers.",
         _between("value", (2, 20), (10, 100), (100, 1000)), near_numbers),
    Task("arithmetic", "fraction_simplification", "A fraction in its lowest terms.",
         tuple({"max_value": value, "min_factor": 2, "max_factor": factor, "styles": ("plain",)}
               for value, factor in ((10, 5), (50, 20), (500, 50))), near_fractions),
    Task("arithmetic", "chain_sum", "Sums of two digits, answered in free form and checked by a program.",
         _between("digits", (1, 1), (1, 2), min_terms=2, max_terms=2), None,
         subject="chain_sum_free", default=True),
    Task("algebra", "simple_equations", "A linear equation in one unknown.",
         tuple({"min_terms": 2, "max_terms": terms, "min_value": 1, "max_value": value}
               for terms, value in ((2, 10), (3, 30), (4, 100))), near_numbers),
    Task("algebra", "number_sequence", "The next number of a sequence.",
         tuple({"max_terms": 6, "min_value": -bound, "max_value": bound, "max_complexity": rules}
               for bound, rules in ((20, 1), (50, 2), (100, 3))), near_numbers),
    Task("algebra", "simple_geometry", "The last angle of a polygon.",
         _between("sides", (3, 3), (4, 4), (5, 6)), near_numbers),
    Task("logic", "syllogism", "Whether a conclusion follows from two premises.",
         ({"allow_some": False, "allow_some_not": False, "allow_no": False}, {"allow_some_not": False}, {}),
         one_of("Yes", "No")),
    Task("logic", "knights_knaves", "Who tells the truth and who lies.",
         ({"n_people": 2}, {"n_people": 3}), other_roles),
    Task("logic", "family_relationships", "What one relative is to another.",
         _between("family_size", (4, 4), (5, 6), (7, 8)), _RELATIVES),
    Task("strings", "spell_backward", "A word spelt backwards.",
         _between("word_len", (3, 4), (5, 6), (7, 9)), other_orders),
    Task("strings", "letter_counting", "How often a letter occurs in a text.",
         _between("words", (3, 4), (5, 8), (9, 14)), near_numbers),
    Task("strings", "word_sequence_reversal", "A list of words in reverse.",
         _between("words", (3, 3), (4, 5), (6, 8)), other_orders),
    Task("strings", "spell_backward", "A short word spelt backwards, in free form and checked by a program.",
         _between("word_len", (3, 3), (4, 5)), None, subject="spell_backward_free"),
    Task("reading", "needle_haystack", "Who, of the people in a list of statements, did what.",
         _between("num_statements", (4, 5), (8, 10), (16, 20)), other_names),
)  # fmt: skip


def verifier_name(dataset: str) -> str:
    """Return the name under which graders find the checker of a dataset."""
    return f"reasoning_gym:{dataset}"


def _register(task: Task) -> None:
    def draw(level: int, rng: random.Random) -> Iterator[Draft]:
        import reasoning_gym

        entries = reasoning_gym.create_dataset(
            task.dataset, size=_SIZE, seed=rng.randrange(2**31), **task.levels[level]
        )
        for i in range(_SIZE):
            draft = draft_entry(entries[i], task.wrong, entries.score_answer)
            if draft is not None:
                yield draft

    draw.__doc__ = task.summary
    generator(
        domain=task.domain,
        subject=task.subject or task.dataset,
        source="reasoning_gym",
        levels=len(task.levels),
        default=task.default,
    )(draw)


def draft_entry(entry: Entry, wrong: Wrong | None, score: Callable[[str, Entry], float]) -> Draft | None:
    """Return an entry as a question, or None when its checker refuses its answer or no wrong one.

    ``score(answer, entry)`` is the dataset's checker; one means right. Without ``wrong`` the question is
    free-form.
    """
    prompt, answer = entry["question"].strip(), entry["answer"]
    if answer is None or score(answer, entry) < 1.0:
        return None
    if wrong is None:
        name = verifier_name(entry["metadata"]["source_dataset"])
        return Draft(prompt, answer, verifier={"name": name, "payload": entry})
    pool = [text for text in wrong(entry, random.Random(prompt)) if score(text, entry) < 1.0]
    return draft_choice(prompt, answer, pool) if pool else None


for _task in _TASKS:
    _register(_task)
