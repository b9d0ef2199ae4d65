"""Numbers as people and models write them: digit groups, fractions, percent, units, powers of ten."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from experts.grading.units import UNIT, contradict, is_unit, unit_words

#: Of a longer statement the end counts; longer numbers are none.
_LONGEST = 2000
_MOST_DIGITS = 400
_BLANK = "[ \u00a0\u2007\u2009\u202f]"

# The ways to write digits, groups first: English, Indian, continental, Swiss, with blanks, Python's; then a
# decimal comma (three digits after it are a group) and plain.
_DIGITS = (
    r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,]\d|\d)"
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?(?!\d|,\d)"
    r"|\d{1,3}(?:\.\d{3})+,\d+(?!\d|[.,]\d)|\d{1,3}(?:\.\d{3}){2,}(?!\d|[.,]\d)"
    r"|\d{1,3}(?:['’]\d{3})+(?:[.,]\d+)?(?!\d)"
    rf"|\d{{1,3}}(?:{_BLANK}\d{{3}})+(?:[.,]\d+)?(?!\d|{_BLANK}?[/:]|-\w)"
    r"|\d{1,3}(?:_\d{3})+(?!\d)"
    r"|(?<![,\d])(?:0|[1-9]\d*),(?:\d{1,2}|\d{4,}|(?<=0,)\d+)(?!\d|,?\s?\d|[.']\d)"
    r"|\d+(?:\.\d+)?|(?<![\w.])\.\d+"
)
_SIGN = r"(?:(?<![\w)\]])[-+]\s?)?"
_NUMBER = rf"(?:{_DIGITS})(?:[eE][-+]?\d{{1,9}}(?!\w))?"
_FRACTION = r"(?<![\d./])\d{1,30}(?:\.\d{1,30})?\s{0,2}/\s{0,2}\d{1,30}(?:\.\d{1,30})?(?!\d|\s?/\s?\d)"
_MIXED = (
    r"(?P<whole>\d{1,30})(?:\s{1,3}and\s{1,3}|\s{1,3}|\s?&\s?)(?P<above>\d{1,30})/(?P<below>\d{1,30})(?!\d|/)"
)
_EXPONENT = r"(?:\^|\*\*)\s?(?:\{[^{}]{0,40}\}|-?\w{1,40})|[\u2070\u00b9\u00b2\u00b3\u2074-\u207b]+"
# What is not read: powers and roots (they are not worked out), dates, times, and words with digits in them
# ("CO2", "x_1"). Exponents are passed over, so that no 2 is read out of "5 m^2".
_TOKENS = re.compile(
    rf"(?P<unread>\d[\d.,]{{0,400}}\s?(?:{_EXPONENT})|(?:\d[\d.]{{0,40}}\s?\*?\s?)?(?:\\?\bsqrt|√|\\pi\b|π)"
    r"(?:\s?[{(][^{}()]{0,60}[)}]|\d+)?"
    r"|\d{4}-\d{1,2}-\d{1,2}|\d{1,4}\s?/\s?\d{1,2}\s?/\s?\d{1,4}|\d{1,3}:\d{2}(?::\d{2})?)"
    rf"|{_EXPONENT}|[^\W\d]\w*"
    rf"|(?P<number>{_SIGN}(?:(?P<mixed>{_MIXED})|(?P<fraction>{_FRACTION})|{_NUMBER}))"
)
_WHOLE = re.compile(rf"(?P<number>[-+]?\s?(?:(?P<mixed>{_MIXED})|(?P<fraction>{_FRACTION})|{_NUMBER}))")
_CONTINENTAL = re.compile(r"(?<!\d)\d{1,3}(?:\.\d{3})+,\d|(?<![\d.])\d{1,3}(?:\.\d{3}){2,}(?![.\d])")
_POINT_GROUP = re.compile(r"[1-9]\d{0,2}\.\d{3}")
_SCIENTIFIC = re.compile(
    r"(?<=\d)\s{0,3}(?:\\times|\\cdot|[×x*·⋅])\s{0,3}10\s?(?:(?:\^|\*\*)\s?(?:\{\s?([-+]?\d{1,9})\s?\}|([-+]?\d{1,9}))"
    r"|([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]{1,9}))"
)
_SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_LATEX_FRACTION = re.compile(
    r"\\[dtc]?frac\s?\{\s?(-?[\d.]{1,30})\s?\}\s?\{\s?([\d.]{1,30})\s?\}|\\[dtc]?frac(\d)(\d)"
)
_LATEX_WORD = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it|sf)|mbox)\s?\{([^{}]{0,200})\}")
_DASHES = re.compile("[\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d]")  # hyphens, the en dash and minus signs
_CURRENCY = re.compile(r"(?:(?:US|A|C|NZ|HK)?\\?[$€£¥₹]|\b(?:USD|EUR|GBP|Rs\.?))\s?(?=[-+]?[\d.])")
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SUFFIXES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion"}
# "$2.5M" and "2k"; without a sign of money an M is metres or mega, and a K kelvin.
_SUFFIXED = re.compile(
    r"(?:(?<=\d)(k)\b|([$€£¥₹]\s?\d{1,3}(?:[\d,]{0,20}\d)?(?:\.\d{1,10})?)\s?([kKMB]|mn|bn)\b)"
)
_NEGATIVE = re.compile(
    r"(?:\bnegative|(?:^|(?<=\bis )|(?<=: )|(?<== ))minus)\s(?=[$€£]?\.?\d)", re.IGNORECASE
)
#: What stands between two numbers of which neither is stated: "18 or 19", "between 17 and 18".
_EITHER = re.compile(r"\s{0,3}(?:[^\W\d]{1,20}\s{1,3})?or\s{1,3}")
_BETWEEN = re.compile(r"\bbetween\s{1,3}$", re.IGNORECASE)
_PERCENT = re.compile(r"\s?\\?%|\s?per\s?cent\b|\s?percent\b")
# Between two numbers: a sign of equality leads to the result, an operator only towards one.
_EQUALS = re.compile(r"[=≈≃]|\b(?:equals|makes|gives|is)\b")
_OPERATOR = re.compile(
    r"^[^,;()\n]*?(?:[-+*/×÷·⋅^]|\\times|\\cdot|\\div|\b(?:plus|minus|times|divided by)\b)[^,;)\n]*$"
)
_BREAK = re.compile(r"[;\n]|,\s|[.!?]\s|\s\(|\b(?:when|where|if|for|with|since|because|which)\b")
#: Words of a sentence that works something out, whose last number is the result.
_WORKING = re.compile(
    r"\b(?:so|thus|then|therefore|hence|makes?|leaves?|left|gives?|is|are|equals?|total|totals|and|minus|plus|times)\b",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"\s{0,3}\(([^()\d]{1,40})\)\.?")
_DENIED = re.compile(r"(?:\bnot|n['’]t)\s+(?:\w+\s+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Number:
    """A number with what was written behind it; ``value`` is a Decimal where a fraction would be huge."""

    value: Fraction | Decimal
    unit: tuple[str, ...] = ()
    percent: bool = False
    scale: int = 1  # that a word behind it multiplies by: "million"

    def __str__(self) -> str:
        if not isinstance(self.value, Fraction):
            return str(self.value)
        try:
            return str(float(self.scale * self.value))
        except OverflowError:
            return str(self.scale * self.value)


def parse_number(text: str) -> Number | None:
    """Return the number that the whole of ``text`` writes, a unit behind it included, or None.

    >>> str(parse_number("1,234.50")), str(parse_number("1½")), parse_number("12 cm").unit
    ('1234.5', '1.5', ('cm',))
    >>> parse_number("2024-05-01"), parse_number("Paris"), parse_number("2x")
    (None, None, None)
    """
    if len(text) > _LONGEST:
        return None
    plain, currency = _prepare(text)
    plain = plain.strip()
    found = _WHOLE.match(plain)
    if found is None:
        return None
    rest = plain[found.end() :]
    if in_brackets := _BRACKETED.fullmatch(rest):  # "9 (apples)"
        rest = f" {in_brackets[1]}"
    unit = UNIT.fullmatch(rest.rstrip(" .")) if rest.strip(" .") else None
    behind = unit[1] if unit else ""
    if (
        rest.strip(" .")
        and not _PERCENT.fullmatch(rest.rstrip(" ."))
        and not (unit and _can_be_unit(rest, behind))
    ):
        return None
    return _number(found, rest, currency, continental=bool(_CONTINENTAL.search(plain)))


def _can_be_unit(rest: str, unit: str) -> bool:
    if rest.strip() == rest == "s":
        return False  # "1990s"
    first = unit.split()[0].casefold()
    return first in _SCALES or (is_unit(unit) and (rest[0].isspace() or rest[0] in "-°" or len(unit) < 6))


def stated_number(statement: str, *, prose: bool = False) -> Number | None:
    """Return the number that a statement of an answer states, or None.

    It is the first one ("$18 per day, for 7 days"), but for a sum that is worked out ("3 + 4 = 7"), where it
    is the result, and for what is denied ("not 5 but 6"). In prose, with which a reply without a mark may
    begin, it is the last one.

    >>> str(stated_number("$18 per day, for 7 days")), str(stated_number("3 apples + 4 pears = 7"))
    ('18.0', '7.0')
    """
    statement = statement[-_LONGEST:] if prose else statement[:_LONGEST]
    plain, currency = _prepare(statement)
    continental = bool(_CONTINENTAL.search(plain))
    tokens = [
        token
        for token in _TOKENS.finditer(plain)
        if token.lastgroup and not _DENIED.search(plain[max(0, token.start() - 24) : token.start()])
    ]
    if not tokens:
        return None
    begins = not plain[: tokens[0].start()].strip(" *_($\\[{~≈")
    if prose and not (begins and not _WORKING.search(plain)) and not _EQUALS.search(plain):
        chosen: int | None = len(tokens) - 1
    else:
        chosen = _result(plain, tokens, last=prose)
    token = tokens[chosen] if chosen is not None else None
    if chosen is None or token is None or token["number"] is None:
        return None
    number = _number(token, plain[token.end() :], currency, continental=continental)
    for first in (chosen - 1, chosen):
        if 0 <= first < len(tokens) - 1 and _are_either(plain, *tokens[first : first + 2]):
            other = tokens[first if first != chosen else chosen + 1]
            also = _number(other, plain[other.end() :], currency, continental=continental)
            if number is None or also is None or not same_number(number, also):
                return None
    return number


def _are_either(plain: str, first: re.Match[str], second: re.Match[str]) -> bool:
    """Whether two numbers are a choice of which nothing is chosen, or the ends of a range."""
    if first["number"] is None or second["number"] is None:
        return False
    between = plain[first.end() : second.start()]
    return bool(_EITHER.fullmatch(between)) or (
        between.strip() == "and" and bool(_BETWEEN.search(plain[max(0, first.start() - 12) : first.start()]))
    )


def _result(plain: str, tokens: list[re.Match[str]], *, last: bool) -> int | None:
    """The token at which a statement arrives; None in the middle of a sum that is not worked out."""
    chosen, working = 0, False
    for i in range(1, len(tokens)):
        between = plain[tokens[i - 1].end() : tokens[i].start()]
        after = plain[tokens[i].start()]
        if _EQUALS.search(between) and (last or not _BREAK.search(between)):
            chosen, working = i, False
        elif last and _EQUALS.search(plain[tokens[i].end() :]):
            continue
        elif _BREAK.search(between):
            break
        elif _OPERATOR.match(between) or (after in "+-" and len(between.strip()) == 0):
            working = True
        elif not working:
            break
    return None if working else chosen


def same_number(reference: Number, stated: Number) -> bool:
    """Tell whether a stated number is the reference's.

    Units that are both there must agree; percent counts as itself and as hundredths; "5 million" as the
    number and as 5 (of millions).
    """
    if contradict(reference.unit, stated.unit):
        return False
    wanted, found = _readings(reference), _readings(stated)
    return bool(wanted & found)


def _readings(number: Number) -> set[Fraction | Decimal]:
    if not isinstance(number.value, Fraction):
        return {number.value}
    readings: set[Fraction | Decimal] = {number.value}
    if number.scale != 1:
        readings.add(number.value * number.scale)
    if number.percent:
        readings.add(number.value / 100)
    return readings


def _number(found: re.Match[str], rest: str, currency: bool, *, continental: bool) -> Number | None:
    written = found["number"].replace(" ", "") if not found["mixed"] else found["number"]
    negative = written.lstrip().startswith("-")
    value: Fraction | Decimal | None
    if found["mixed"]:
        value = _fraction(found["above"], found["below"])
        value = None if value is None else Fraction(int(found["whole"])) + value
    elif found["fraction"]:
        value = _fraction(*written.lstrip("+-").split("/"))
    else:
        value = _decimal(written.lstrip("+-"), continental=continental)
    if value is None:
        return None
    if negative:
        value = -value if isinstance(value, Fraction) else value.copy_negate()
    percent = bool(_PERCENT.match(rest))
    unit = UNIT.match(rest)
    words = () if percent or unit is None else unit_words(unit[1])
    scale = _SCALES.get(words[0], 1) if words else 1
    words = words[1:] if scale != 1 else words
    return Number(value, words or (("$",) if currency and not percent else ()), percent, scale)


def _fraction(above: str, below: str) -> Fraction | None:
    over, under = Fraction(above), Fraction(below)
    return over / under if under else None


def _decimal(written: str, *, continental: bool) -> Fraction | Decimal | None:
    digits = re.sub(rf"{_BLANK}|['’_]", "", written)
    points, commas = digits.count("."), digits.count(",")
    if points and commas:
        decimal_comma = digits.rindex(",") > digits.rindex(".")
    elif commas:
        decimal_comma = commas == 1 and not re.fullmatch(r"[1-9]\d{0,2},\d{3}(?:[eE].*)?", digits)
    else:
        decimal_comma = points > 1 or (continental and bool(_POINT_GROUP.fullmatch(digits)))
    digits = digits.replace(".", "").replace(",", ".") if decimal_comma else digits.replace(",", "")
    if len(digits) > _MOST_DIGITS:
        return None
    try:
        number = Decimal(digits)
    except InvalidOperation:
        return None
    if not number:
        return Fraction(0)
    return Fraction(number) if abs(number.adjusted()) <= _MOST_DIGITS else number


def _prepare(text: str) -> tuple[str, bool]:
    """The text with one way to write each thing, and whether it had the sign of a currency."""
    if not text.isascii():
        text = "".join(map(_plain_character, text))
    text = _DASHES.sub("-", text)
    if "\\" in text:
        text = _LATEX_FRACTION.sub(
            lambda m: f" {m[1]}/{m[2]}" if m[1] else f" {m[3]}/{m[4]}", _LATEX_WORD.sub(r" \1 ", text)
        )
        text = re.sub(r"\\(?:left|right|displaystyle|,|;|!|:| |quad)", " ", text).replace("\\%", "%")
    text = _SCIENTIFIC.sub(lambda m: f"e{m[1] or m[2] or m[3].translate(_SUPERSCRIPTS)}", text)
    text = _NEGATIVE.sub("-", text)
    text = _SUFFIXED.sub(lambda m: f"{m[2] or ''} {_SUFFIXES[(m[1] or m[3]).lower()]}", text)
    without = _CURRENCY.sub("", text)
    # A lone "$" is mathematics, not money: "$x = 5$".
    currency = without != text and not re.fullmatch(r"\s*\$[^$]*\$.*", text, re.DOTALL)
    return without.replace("$", ""), currency


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.digit(character))
    if "FRACTION" in unicodedata.name(character, "") and (value := unicodedata.numeric(character, None)):
        fraction = Fraction(value).limit_denominator(100)
        return f" {fraction.numerator}/{fraction.denominator}"
    return {"⁄": "/", "∕": "/", "．": ".", "，": ",", "％": "%", "／": "/"}.get(character, character)
