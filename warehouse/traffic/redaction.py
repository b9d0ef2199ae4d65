"""Personal data is taken out of texts where it has a form: no model, no network, a millisecond a page.

Found are e-mail and IP addresses, card numbers, IBANs and US social security numbers (piigex, which checks
digits by python-stdnum), and telephone numbers (Google's phonenumbers). Names, streets and whatever else only
a reader knows for what it is stay where they are.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from warehouse.errors import CannotRunError

_NEEDED = ("piigex", "phonenumbers")
_KINDS = ("intl_email", "intl_credit_card", "intl_iban", "intl_ipv4", "intl_ipv6", "intl_mac", "us_ssn")
#: Where a number without a country's prefix is one; with a prefix those of all countries are found.
_PHONES_OF = "US"


def check_redaction() -> None:
    """See that texts can be redacted here.

    Raises:
        CannotRunError: what it takes is not installed.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotRunError(
            f"texts cannot be redacted: {' and '.join(missing)} is not installed",
            where="--redact",
            fix="pip install 'leeroo-orchestrator[redact]', or leave --redact out",
        )


def make_redact() -> Callable[[str], str]:
    """Return what replaces personal data by its kind, as in ``write to <EMAIL>``.

    Raises:
        CannotRunError: what it takes is not installed.
    """
    check_redaction()
    import phonenumbers
    import piigex

    scrubber = piigex.Scrubber(detectors=list(_KINDS))

    def redact(text: str) -> str:
        found = [
            (one.start, one.end, one.token.removeprefix("US_"))
            for one in scrubber.scan(text)
            if one.name != "us_ssn" or not one.value.isdigit()  # nine digits alone are any number
        ]
        numbers = phonenumbers.PhoneNumberMatcher(text, _PHONES_OF)
        found += [(number.start, number.end, "PHONE") for number in numbers]
        parts, at = [], 0
        for start, end, kind in sorted(found, key=lambda one: (one[0], -one[1])):
            if end > at:
                parts += [text[at : max(at, start)], f"<{kind}>"]
                at = end
        return "".join(parts) + text[at:]

    return redact
