"""The kinds of files that can be imported: to add one is a file beside this one, and its row here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.importing.base import Read


@dataclass(frozen=True)
class ImportKind:
    """A kind of file: the name of its command, ``leeroo import NAME``, its help, and what reads it."""

    name: str
    help: str
    module: str

    @property
    def read(self) -> Read:
        """The reader; its file is loaded when it is needed, since the command line begins with this table."""
        found: Read = importlib.import_module(f"pipelines.importing.{self.module}").read
        return found


IMPORTERS: tuple[ImportKind, ...] = (
    ImportKind(
        "lm-eval", "Sample logs of lm-evaluation-harness (--log_samples), or folders of them.", "lm_eval"
    ),
    ImportKind("inspect", "Logs of inspect_ai, by its own reader (pip install inspect-ai).", "inspect_logs"),
    ImportKind("openai-batch", "Outputs of an OpenAI batch, with its --requests.", "openai_batch"),
    ImportKind("spend-logs", "Spend logs of a LiteLLM gateway that keeps prompts.", "spend_logs"),
    ImportKind("table", "CSV, JSON Lines, JSON or Parquet of prompt, model, score, cost ...", "answer_table"),
)
