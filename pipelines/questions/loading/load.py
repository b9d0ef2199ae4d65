"""Load questions by path or name, whatever they lie in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from pipelines.questions.loading.hub import PUBLIC_SETS, load_folder, load_hub
from pipelines.questions.loading.question_file import Reading, load_file
from pipelines.questions.loading.records import SUFFIXES, kind_of
from pipelines.questions.loading.report import LoadReport
from warehouse import InputError


def load_questions(
    path_or_name: str | Path,
    *,
    configs: Sequence[str] | None = None,
    split: str | None = None,
    revision: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    source: str | None = None,
    domain: str | None = None,
    round: str = "r000",
    reading: Reading | None = None,
    report: LoadReport | None = None,
) -> pa.Table:
    """Return questions as a QUESTIONS table, without exact duplicates; an error leaves nothing behind.

    Args:
        path_or_name: a file (JSON Lines, JSON, CSV, TSV or Parquet, packed or not), a folder laid out as
            ``<config>/<split>-*.parquet``, or the name of a public set such as ``cais/mmlu``.
        configs: for folders and public sets, which configurations (MMLU's subjects).
        split: for folders and public sets, which split; None takes a set's own, else ``test``, and
            ``validation`` of a folder that has no ``test``.
        revision: for public sets, another commit than the pinned one.
        limit: at most so many, drawn at random by ``seed`` and left in their order; None takes all.
        seed: decides the draw.
        source: the name of the source, unless the file's, the folder's or the set's.
        domain: the domain of questions that name none.
        round: the round that the questions belong to.
        reading: what the columns mean, where their names do not say.
        report: filled with what was left out and decided; logged where there is none.

    Raises:
        InputError: nothing of that path or name, or what :func:`load_file`, :func:`load_folder` and
            :func:`load_hub` raise.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}", where="load_questions", fix="ask for at least one question")
    path = Path(path_or_name)
    if path.is_dir():
        present = [name for name in ("test", "validation") if any(path.glob(f"*/{name}-*.parquet"))]
        chosen = split or (present[0] if present else "test")
        table = load_folder(
            path,
            configs=configs,
            split=chosen,
            source=source,
            domain=domain,
            round=round,
            reading=reading,
            report=report,
        )
    elif path.is_file() or kind_of(path) in SUFFIXES:
        table = load_file(path, source=source, domain=domain, round=round, reading=reading, report=report)
    elif str(path_or_name) in PUBLIC_SETS:
        table = load_hub(
            str(path_or_name),
            configs=configs,
            split=split,
            revision=revision,
            round=round,
            reading=reading,
            report=report,
        )
    else:
        raise InputError(
            f"{str(path_or_name)!r} is neither a file, a folder nor a known set",
            where="load_questions",
            fix="check the path, or use one of " + ", ".join(PUBLIC_SETS),
        )
    if limit is not None and limit < table.num_rows:
        table = table.take(sorted(random.Random(seed).sample(range(table.num_rows), limit)))
    return table
