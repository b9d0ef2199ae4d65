"""Prompt templates, and how the text of an option follows the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

#: Names that a template may use. ``{choices}`` is one lettered option a line, empty for free-form questions.
PLACEHOLDERS = frozenset({"question", "choices", "letters"})

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

#: The templates of an entry that names none, by scoring (``free`` for free-form questions).
DEFAULT_TEMPLATES = {
    "letter": "Question: {question}\n{choices}\nAnswer:",
    "cloze": "Question: {question}\nAnswer:",
    "generate": (
        "Question: {question}\n{choices}\n"
        "Reply with the letter of the right option ({letters}) and nothing else.\nAnswer:"
    ),
    "free": "Question: {question}\nAnswer:",
}

#: Questions of this source are requests that people wrote: everybody is asked them word for word.
VERBATIM_SOURCE = "traffic"


def choose_template(own: str | None, kind: str, source: str | None) -> str:
    """Return how a question is asked: as its entry says, else by the default of its kind of scoring.

    A recorded request needs no frame: it goes to each expert as it went to the one that was served.
    """
    return "{question}" if source == VERBATIM_SOURCE else own or DEFAULT_TEMPLATES[kind]


def check_template(template: str) -> None:
    """Raise ValueError unless the template has ``{question}`` and no placeholder that is not known."""
    names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    if unknown := sorted(names - PLACEHOLDERS):
        raise ValueError(
            f"unknown placeholder {{{unknown[0]}}}; use {{question}}, {{choices}} and {{letters}} "
            "(write a literal brace twice)"
        )
    if "question" not in names:
        raise ValueError("the template must contain {question}; put it where the question goes")


def render_prompt(template: str, question: str, choices: Sequence[str] | None = None) -> str:
    """Fill a template with the question and, one a line as ``A. text``, its options."""
    choices = choices or ()
    return template.format(
        question=question,
        choices="\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)),
        letters=", ".join(LETTERS[: len(choices)]),
    )
