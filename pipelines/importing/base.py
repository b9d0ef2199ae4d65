"""What an importer is: a function from a file to answers, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from experts.upstream.usage_parts import ToldUsage
from warehouse import InputError


@dataclass(frozen=True)
class Imported:
    """One expert's answer to one question, as a file tells it; nothing of it is checked yet.

    Attributes:
        where: the file and the line.
        question: in the words of a file of questions; see docs/formats.md.
        expert: who answered, by the name that the file has for it.
        score: from 0 to 1; None to be graded here, or judged later.
        text: what was answered.
        choice: the option that was chosen.
        prompt_tokens, completion_tokens: where there is no ``usage``.
        usage: the tokens as an API told them.
        is_batch: whether it was a call of a batch.
        cost_usd: what was paid; None: its tokens at the expert's price of that time.
        latency_s: how long it took.
        created_at: when; None for now.
        grader: who gave the score.
        expert_version: of rows that were exported; else that of the catalogue's expert of this name.
    """

    where: str
    question: Mapping[str, Any]
    expert: str
    score: Any = None
    text: str | None = None
    choice: int | None = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    usage: ToldUsage | None = None
    is_batch: bool = False
    cost_usd: Any = None
    latency_s: Any = None
    created_at: datetime | None = None
    grader: str | None = None
    expert_version: str | None = None


@dataclass
class ImportNotes:
    """What an importer passes over or cannot take, told to whoever imports."""

    faults: list[InputError] = field(default_factory=list)  # with one, nothing is imported
    passed_over: dict[str, tuple[int, str]] = field(default_factory=dict)  # reason -> how many, the first
    told: list[str] = field(default_factory=list)

    def pass_over(self, reason: str, where: str) -> None:
        """Count what is no answer."""
        count, first = self.passed_over.get(reason, (0, where))
        self.passed_over[reason] = count + 1, first

    def tell(self, what: str) -> None:
        """Say something once."""
        if what not in self.told:
            self.told.append(what)


@dataclass(frozen=True)
class ImportOptions:
    """How somebody says that files are to be read, where they do not.

    Attributes:
        metric: the score to take, where a file has several.
        mapping: a YAML file that says what the columns of a table mean.
        requests: the file of requests that a file of outputs answers.
        questions: a file of questions with their right answers, to grade by.
        source: what the questions are filed under, unless the files say.
    """

    metric: str | None = None
    mapping: Path | None = None
    requests: Path | None = None
    questions: Path | None = None
    source: str | None = None


Read = Callable[[Path, ImportOptions, ImportNotes], Iterator[Imported]]
