"""Whether an expert can serve a request: the one rule, for rounds and for the endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from experts.catalogue.capabilities import ABILITIES
from experts.catalogue.spec import ExpertSpec
from experts.eligibility.needs import Needs
from experts.eligibility.scripts import is_written_in
from experts.upstream.counting import TokenCounter

#: Characters a token, over a whole text, that no tokeniser in use comes to.
_MOST_CHARACTERS_PER_TOKEN = 12
_WORDS = {
    "tools": "calls no tools",
    "parallel_tools": "calls one tool at a time",
    "json_schema": "takes no JSON schema",
    "vision": "reads no images",
    "audio": "hears no sound",
    "files": "reads no files",
    "reasoning_effort": "takes no reasoning_effort",
}
assert set(_WORDS) == set(ABILITIES)


@dataclass(frozen=True)
class Lack:
    """Something that a request needs, and that an expert lacks.

    Attributes:
        what: the ability, ``languages`` or ``context_tokens``.
        told: what the expert does not do, in words that follow its name.
        field: of the request that asks for it.
        is_certain: false where a length is estimated, and the request may fit after all.
    """

    what: str
    told: str
    field: str
    is_certain: bool = True


@dataclass(frozen=True)
class PromptTokens:
    """The tokens of a prompt in an expert's own count: exact, or by an estimate that errs upward."""

    count: int
    is_exact: bool


Count = Callable[[ExpertSpec, Needs], PromptTokens]


def estimate_tokens(counter: TokenCounter, needs: Needs) -> PromptTokens:
    """Return an estimate of a prompt's tokens that errs upward, by what the expert's bills showed so far."""
    return PromptTokens(counter.prompt_tokens(needs.extent.characters), is_exact=False)


def find_lacks(spec: ExpertSpec, needs: Needs, count: Count) -> tuple[Lack, ...]:
    """Return what a request needs and an expert states that it lacks; what it does not state may be tried.

    Args:
        spec: the expert.
        needs: of the request.
        count: counts the prompt's tokens; called only where the window decides by them.
    """
    can = spec.capabilities
    lacks = [
        Lack(what, _WORDS[what], field)
        for what, field in needs.abilities.items()
        if getattr(can, what) == "no"
    ]
    if needs.script is not None and can.languages and not is_written_in(can.languages, needs.script):
        told = f"answers in {', '.join(can.languages)}, and this is in {needs.script} letters"
        lacks.append(Lack("languages", told, "messages"))
    if (lack := _find_lack_of_context(spec, needs, count)) is not None:
        lacks.append(lack)
    return tuple(lacks)


def _find_lack_of_context(spec: ExpertSpec, needs: Needs, count: Count) -> Lack | None:
    """Compare the window with the prompt and the room for an answer, which only our own engines insist on."""
    window, extent = spec.context_tokens, needs.extent
    room = extent.limit or spec.max_tokens
    if window is None or extent.bytes + room <= window:  # no tokeniser makes more of it
        return None
    least = extent.characters // _MOST_CHARACTERS_PER_TOKEN if extent.is_text else 0
    tokens = count(spec, needs) if least < window else PromptTokens(least, is_exact=False)
    if tokens.count + room <= window:
        return None
    about = "" if tokens.is_exact else "some "
    told = f"has a context of {window:,} tokens, and this needs {about}{tokens.count:,} + {room:,}"
    return Lack("context_tokens", told, "messages", is_certain=tokens.is_exact or least >= window)


@dataclass(frozen=True)
class Eligible:
    """Who can serve a request, and what the others lack.

    Attributes:
        names: the experts that can, in their order; where nobody surely can, those that may.
        lacks: by name, what each of the others lacks.
    """

    names: tuple[str, ...]
    lacks: Mapping[str, tuple[Lack, ...]]


def find_eligible(specs: Iterable[ExpertSpec], needs: Needs, count: Count) -> Eligible:
    """Return which experts can serve a request.

    An expert with a stated lack never can. One whose window may be too small by an estimate is kept out while
    there is another, since a failed attempt costs time.
    """
    found = {spec.name: find_lacks(spec, needs, count) for spec in specs}
    able = tuple(name for name, lacks in found.items() if not lacks)
    able = able or tuple(name for name, lacks in found.items() if not any(lack.is_certain for lack in lacks))
    return Eligible(able, {name: lacks for name, lacks in found.items() if name not in able})


def describe_lacks(lacks: Mapping[str, tuple[Lack, ...]]) -> str:
    """Return in words why nobody can serve a request.

    >>> describe_lacks({"a": (Lack("vision", "reads no images", "messages"),)})
    'a reads no images'
    """
    return "; ".join(
        f"{name} {' and '.join(lack.told for lack in found)}" for name, found in lacks.items() if found
    )
