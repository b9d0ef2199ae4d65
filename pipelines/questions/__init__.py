"""Where questions come from: generators over data packages, tasks with verifiers, files, public sets."""

from pipelines.questions.draft import Draft, draft_choice
from pipelines.questions.generator import Generator, generator, list_generators, shuffled
from pipelines.questions.loading.load import load_questions
from pipelines.questions.make import make_questions

__all__ = [
    "Draft",
    "Generator",
    "draft_choice",
    "generator",
    "list_generators",
    "load_questions",
    "make_questions",
    "shuffled",
]
