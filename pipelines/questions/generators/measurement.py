"""Units: what measures what, SI prefixes and conversions (the constants are SciPy's)."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

from scipy import constants

from pipelines.questions.draft import Draft, draft_choice
from pipelines.questions.generator import generator, shuffled

#: Quantity -> its SI unit with a name of its own, by level (everyday, school, physics).
_SI_UNITS = (
    {"length": "metre", "mass": "kilogram", "time": "second", "temperature": "kelvin",
     "electric current": "ampere"},
    {"force": "newton", "energy": "joule", "power": "watt", "pressure": "pascal", "frequency": "hertz",
     "electric resistance": "ohm", "voltage": "volt"},
    {"electric charge": "coulomb", "capacitance": "farad", "inductance": "henry", "magnetic flux": "weber",
     "magnetic flux density": "tesla", "luminous intensity": "candela", "amount of substance": "mole",
     "radioactivity": "becquerel", "absorbed dose of radiation": "gray", "illuminance": "lux"},
)  # fmt: skip
_PREFIXES = (
    ("kilo", "mega", "centi", "milli"),
    ("giga", "tera", "micro", "nano", "deci", "hecto"),
    ("peta", "exa", "zetta", "yotta", "pico", "femto", "atto", "zepto", "yocto"),
)
#: (unit, its plural, its size in SI units), kind by kind.
_UNITS = (
    (
        ("inch", "inches", constants.inch),
        ("foot", "feet", constants.foot),
        ("yard", "yards", constants.yard),
        ("mile", "miles", constants.mile),
    ),
    (
        ("millimetre", "millimetres", constants.milli),
        ("centimetre", "centimetres", constants.centi),
        ("metre", "metres", 1.0),
        ("kilometre", "kilometres", constants.kilo),
    ),
    (
        ("ounce", "ounces", constants.oz),
        ("pound", "pounds", constants.lb),
        ("stone", "stone", constants.stone),
    ),
    (
        ("gram", "grams", constants.gram),
        ("kilogram", "kilograms", 1.0),
        ("tonne", "tonnes", constants.metric_ton),
    ),
    (
        ("second", "seconds", 1.0),
        ("minute", "minutes", constants.minute),
        ("hour", "hours", constants.hour),
        ("day", "days", constants.day),
        ("week", "weeks", constants.week),
    ),
)


@generator(domain="measurement", source="SI", levels=3)
def si_unit(level: int, rng: random.Random) -> Iterator[Draft]:
    """The SI unit of a quantity."""
    units = [unit for table in _SI_UNITS for unit in table.values()]
    for quantity in shuffled(_SI_UNITS[level], rng):
        yield draft_choice(f"What is the SI unit of {quantity}?", _SI_UNITS[level][quantity], units)


@generator(domain="measurement", source="SI", levels=3)
def quantity_of_unit(level: int, rng: random.Random) -> Iterator[Draft]:
    """The quantity that a unit measures."""
    quantities = [quantity for table in _SI_UNITS for quantity in table]
    for quantity in shuffled(_SI_UNITS[level], rng):
        unit = _SI_UNITS[level][quantity]
        yield draft_choice(f"What does the {unit} measure?", quantity, quantities)


@generator(domain="measurement", source="scipy.constants", levels=3)
def si_prefix(level: int, rng: random.Random) -> Iterator[Draft]:
    """The power of ten of an SI prefix."""
    every = [prefix for table in _PREFIXES for prefix in table]
    powers = {prefix: f"10^{math.log10(getattr(constants, prefix)):.0f}" for prefix in every}
    for prefix in shuffled(_PREFIXES[level], rng):
        yield draft_choice(
            f"Which power of ten does the SI prefix {prefix} stand for?", powers[prefix], powers.values()
        )


@generator(domain="measurement", source="scipy.constants", levels=3)
def conversion(level: int, rng: random.Random) -> Iterator[Draft]:
    """How many of a smaller unit make one, two to nine, or up to 99 of a larger one."""
    counts = (range(1, 2), range(2, 10), range(11, 100))[level]
    pairs = [pair for kind in _UNITS for pair in itertools.combinations(kind, 2)]
    for count, (small, large) in shuffled(itertools.product(counts, pairs), rng):
        each = round(large[2] / small[2])
        right = count * each
        near = [right * 10, right + each, right + 2, right + 10, right * 2, max(1, right // 10)]
        article = "an" if large[0] in ("inch", "ounce", "hour") else "a"
        asked = f"{article} {large[0]}" if count == 1 else f"{count} {large[1]}"
        yield draft_choice(f"How many {small[1]} are in {asked}?", str(right), [str(n) for n in near])
