"""Whether a model's licence lets it be changed and hosted, and what its adapter must say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from experts import ExpertSpec
from warehouse import InputError

#: Licences of the models that arrive as packages.
BUNDLED = {"bundled:smollm2-135m-instruct": "apache-2.0", "bundled:gemma-3-270m": "gemma"}
#: Licences that let nobody pass on or run a changed model, by what their names hold.
FORBIDDING = {
    "-nd": "it allows no derivatives",
    "noderiv": "it allows no derivatives",
    "no-derivatives": "it allows no derivatives",
    "proprietary": "its owner keeps all rights",
    "all-rights-reserved": "its owner keeps all rights",
}
#: Licences with conditions that the adapter's note repeats.
CONDITIONS = {
    "gemma": "Gemma's terms of use and its list of prohibited uses hold for the adapter too",
    "llama": "Meta's community licence holds for the adapter too; its name must begin with Llama",
    "-nc": "not for commercial use",
    "research": "for research only",
}
_FIELD = re.compile(r"^license(?:_name)?:\s*[\"']?([^\"'\n]+)", re.MULTILINE)


@dataclass(frozen=True)
class Licence:
    """A licence by its name, and what an adapter of the model must be said to be under."""

    name: str
    note: str


def check_licence(spec: ExpertSpec, given: str | None = None) -> Licence:
    """Return a base's licence: as given, of a bundled model, or as its model card states.

    Raises:
        InputError: it forbids changed models, or nobody states it.
    """
    name = given or BUNDLED.get(spec.model) or _read_card(spec.model)
    if name is None:
        raise InputError(
            f"the licence of {spec.model!r} is not stated in its folder",
            where=f"expert {spec.name!r}",
            fix="read it, and give its name by --licence, as apache-2.0",
        )
    plain = re.sub(r"[\s_]+", "-", name.strip().lower())
    for part, why in FORBIDDING.items():
        if part in plain:
            raise InputError(
                f"the licence {name!r} of {spec.model!r} forbids it: {why}",
                where=f"expert {spec.name!r}",
                fix="tune a model whose licence allows changed models, as apache-2.0 or mit",
            )
    terms = [text for part, text in CONDITIONS.items() if part in plain]
    return Licence(plain, "; ".join([f"adapter of {spec.model}, licence {plain}", *terms]))


def _read_card(model: str) -> str | None:
    card = Path(model).expanduser() / "README.md"
    if not card.is_file():
        return None
    text = card.read_text(encoding="utf-8", errors="replace")
    front = text.split("---")[1] if text.startswith("---") and text.count("---") >= 2 else ""
    found = _FIELD.search(front)
    return found[1].strip() if found else None
