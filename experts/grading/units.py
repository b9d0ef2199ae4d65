"""Units and words behind a number: which are units of measurement, and which contradict each other."""

from __future__ import annotations

import re

# Spellings of one unit share a line. What is not here is a word ("apples").
_SPELLINGS = """
mm millimeter millimetre
cm centimeter centimetre
m meter metre
km kilometer kilometre
in inch inches
ft foot feet
yd yard
mi mile
mg milligram
g gram gramme
kg kilogram kilo
t ton tonne
lb lbs pound
oz ounce
ml milliliter millilitre
l liter litre
s sec second
min minute
h hr hour
day
week
month
year yr
ms millisecond
hz hertz
khz kilohertz
mhz megahertz
w watt
kw kilowatt
kwh
j joule
kj kilojoule
cal calorie
kcal
n newton
pa pascal
kpa kilopascal
v volt
ma milliampere
a ampere amp
ohm Ω ω
mol mole
k kelvin
°c celsius
°f fahrenheit
° deg degree
rad radian
m^2 m² sqm
cm^2 cm²
km^2 km²
m^3 m³
cm^3 cm³ cc
m/s mps
km/h kmh kph
m/s^2 m/s²
mph
$ dollar usd buck
€ euro eur
£ gbp quid
¥ yen jpy
₹ rupee rs inr
¢ cent
% percent pct
bit
byte
kb kilobyte
mb megabyte
gb gigabyte
"""
_UNIT_OF = {word: line.split()[0] for line in _SPELLINGS.strip().splitlines() for word in line.split()}
_STOP_WORDS = """
a about after all altogether and are as at because before but by during each every for from has have
if in is left less more of off on only or out over per plus remaining since so than that the then
there thus to total under until was were when where which while who with without
"""
_MONTH_WORDS = """
january february march april may june july august september october november december jan feb mar
apr jun jul aug sep sept oct nov dec
"""
#: Words after which no more of a unit comes ("12 apples in total"), or that are none ("20 out of 30").
_STOPS = frozenset(_STOP_WORDS.split())
_MONTHS = frozenset(_MONTH_WORDS.split())
_ORDINALS = frozenset(("st", "nd", "rd", "th"))
#: The words and signs behind a number, four at most, exponents included.
UNIT = re.compile(
    r"[ \t\u00a0\u202f-]{0,3}((?:[^\W\d_]|[°%$€£¥₹¢²³])+(?:\^?-?[23](?![\d.,]))?"
    r"(?:[ /·*-]{1,2}(?:[^\W\d_]|[²³])+(?:\^?-?[23](?![\d.,]))?){0,5})"
)


def unit_words(text: str) -> tuple[str, ...]:
    """Return the words of a unit in one spelling each, up to the first that belongs to none.

    >>> unit_words("dollars per day"), unit_words("centimetres"), unit_words("red apples in total")
    (('$',), ('cm',), ('red', 'apple'))
    """
    plain = text.strip().casefold()
    if plain in _UNIT_OF:
        return (_UNIT_OF[plain],)
    words: list[str] = []
    for word in re.split(r"[ \t·*-]+", plain):
        if word in _STOPS:
            break
        if word:
            words.append(_singular(word))
    return tuple(words)


def is_unit(text: str) -> bool:
    """Tell whether the text behind a number can be its unit: of measurement, or things that are counted.

    >>> [is_unit(text) for text in ("cm", "apples", "km/h", "x", "th", "May", "or more")]
    [True, True, True, False, False, False, False]
    """
    words = text.strip().casefold().split()
    if not words or words[0] in _STOPS | _MONTHS | _ORDINALS:
        return False
    return (
        text.strip().casefold() in _UNIT_OF or _singular(words[0]) in _UNIT_OF.values() or len(words[0]) >= 3
    )


def contradict(reference: tuple[str, ...], stated: tuple[str, ...]) -> bool:
    """Tell whether two units cannot mean the same: both are there, and neither is a part of the other."""
    if not reference or not stated:
        return False
    return not (set(reference) <= set(stated) or set(stated) <= set(reference))


def _singular(word: str) -> str:
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _UNIT_OF:
            return _UNIT_OF[form]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
