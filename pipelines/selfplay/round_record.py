"""What a round has finished, step by step, in one small file: a round that was killed goes on after it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse import InputError

#: The round under which the frozen questions and their answers are stored.
FROZEN = "frozen"
#: What the names of the records of runs begin with; the rest is the first round's name.
RUN_PREFIX = "run-from-"

Step = dict[str, Any]


class RoundRecord:
    """Steps by name, as JSON, written whole (beside, then renamed) whenever one is done.

    Raises:
        InputError: the file is not such a record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._steps: dict[str, Step] = {}
        if path.is_file():
            self._steps = _read(path)

    def __contains__(self, name: str) -> bool:
        return name in self._steps

    def __getitem__(self, name: str) -> Step:
        return self._steps[name]

    def step(self, name: str, work: Callable[[], Step], *, settings: Step | None = None) -> Step:
        """Return what the step found; the work is done only if it was not done before.

        Args:
            name: of the step.
            work: what it does; its result must be fit for JSON.
            settings: those that decide this step; kept with it, for :meth:`check`.
        """
        if name not in self._steps:
            found = work() if settings is None else work() | {"settings": settings}
            self._steps[name] = json.loads(json.dumps(found))  # the same now as when read again
            self._write()
        return self._steps[name]

    def check(self, settings: Step, by_step: dict[str, Step] | None = None) -> None:
        """Keep the settings, or see that they are those that the record was begun with.

        Args:
            settings: which may not change once the record is begun.
            by_step: settings that one step uses; they may change until it is done.

        Raises:
            InputError: they differ; names the first that does.
        """
        settings = json.loads(json.dumps(settings))
        kept = self.step("settings", lambda: settings)
        self._compare(kept, settings, "when it began")
        for name, own in json.loads(json.dumps(by_step or {})).items():
            done_with = self._steps.get(name, {}).get("settings")
            if done_with is not None:
                self._compare(done_with, own, f"when its {name} was done")

    def _compare(self, kept: Step, settings: Step, when: str) -> None:
        for name, value in settings.items():
            if kept.get(name) != value:
                raise InputError(
                    f"{name} was {kept.get(name)!r} {when} and is {value!r} now",
                    where=str(self.path),
                    fix="go on with the settings it had then, or name another round",
                )

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".tmp")
        with beside.open("w", encoding="utf-8") as file:
            json.dump(self._steps, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)


def _read(path: Path) -> dict[str, Step]:
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        steps = None
    if not isinstance(steps, dict) or not all(isinstance(step, dict) for step in steps.values()):
        raise InputError(
            "not a record of a round", where=str(path), fix="delete it; answers are kept elsewhere"
        )
    return steps


@dataclass(frozen=True)
class RoundFolder:
    """The records of a home's rounds."""

    folder: Path

    def record(self, name: str) -> RoundRecord:
        """The record of a round, of the frozen set, or of a run."""
        return RoundRecord(self.folder / f"{name}.json")

    def names(self) -> frozenset[str]:
        """Rounds whose records refer to questions, the frozen set among them."""
        return frozenset({FROZEN, *(path.stem for path in self.folder.glob("*.json"))})

    def used_ids(self) -> list[str]:
        """Ids of the questions that rounds of this home have been given."""
        records = (RoundRecord(path) for path in sorted(self.folder.glob("*.json")))
        return [identity for r in records if "questions" in r and "refusals" in r["questions"]
                for identity in r["questions"]["ids"]]  # fmt: skip
