"""Checkpoints of a training: whole or not there, so that a run that is killed goes on from the last one."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse import InputError

KEPT = 2  # checkpoints; the one before the last is for a disk that loses what it was told to keep
_NAME = "step-"


@dataclass(frozen=True)
class State:
    """What training goes on from; ``tensors`` are weights, the optimiser's state and the RNG's."""

    step: int
    tensors: dict[str, Any]
    history: list[dict[str, float]]  # what was measured, by step
    spent_s: float


class Checkpoints:
    """The checkpoints of one training, in a folder of their own.

    Args:
        folder: made on first use.
        identity: of recipe, data and base; a checkpoint of another identity is refused.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self._identity = identity

    def save(self, state: State) -> None:
        """Write a checkpoint beside the others, then give it its name; older ones than ``KEPT`` go."""
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / f"{_NAME}{state.step:08d}.pt"
        beside = target.with_suffix(".tmp")
        content = {
            "identity": self._identity, "step": state.step, "tensors": state.tensors,
            "history": state.history, "spent_s": state.spent_s,
        }  # fmt: skip
        with beside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
        for old in self._files()[:-KEPT]:
            old.unlink(missing_ok=True)

    def load(self) -> State | None:
        """Read the last checkpoint that can be read; None if there is none.

        Raises:
            InputError: it belongs to another recipe, base or set of questions.
        """
        import torch

        for file in reversed(self._files()):
            try:
                content = torch.load(file, weights_only=True, map_location="cpu")
                found = State(content["step"], content["tensors"], content["history"], content["spent_s"])
                identity = content["identity"]
            except Exception:  # a disk that lost its end: torch raises half a dozen kinds
                continue
            if identity != self._identity:
                raise InputError(
                    "the checkpoints there are of another recipe, base or set of questions",
                    where=str(self.folder),
                    fix="give the options that they were begun with, or delete the folder to begin anew",
                )
            return found
        return None

    def clear(self) -> None:
        """Remove them all, once what they were for is kept elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_NAME}*.pt"))


def checkpoint_bytes(trainable: int) -> int:
    """Room that checkpoints take at most: weights, the best ones and AdamW's two moments, in float32."""
    return (KEPT + 1) * trainable * 4 * 4
