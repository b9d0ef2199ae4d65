"""Load public question sets from the Hugging Face hub, or from a folder that is laid out like one.

The layout is ``<config>/<split>-*.parquet``, as in ``cais/mmlu`` (Hendrycks et al. 2021; one configuration
per subject, and ``all``), ``allenai/ai2_arc`` (Clark et al. 2018), ``allenai/openbookqa`` (Mihaylov et al.
2018), ``ehovy/race`` (Lai et al. 2017), ``truthfulqa/truthful_qa`` (Lin et al. 2022; its single-answer
multiple choice) and ``openai/gsm8k`` (Cobbe et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.questions.draft import Row
from pipelines.questions.loading.columns import found_in, map_columns, report_unread, unread_columns
from pipelines.questions.loading.fields import Opened, open_record, read_question
from pipelines.questions.loading.packed import parquet_records
from pipelines.questions.loading.question_file import Reading, answer_writings, keep_each_once
from pipelines.questions.loading.report import LoadReport
from warehouse import InputError


@dataclass(frozen=True)
class PublicSet:
    """A set that is loaded by name: its pinned revision and the configurations taken by default."""

    revision: str
    configs: tuple[str, ...]
    domain: str | None = None  # None: each question's subject
    split: str = "test"


PUBLIC_SETS = {
    "cais/mmlu": PublicSet("c30699e8356da336a370243923dbaf21066bb9fe", ("all",)),
    "allenai/ai2_arc": PublicSet(
        "210d026faf9955653af8916fad021475a3f00453", ("ARC-Easy", "ARC-Challenge"), domain="science"
    ),
    "allenai/openbookqa": PublicSet("388097ea7776314e93a529163e0fea805b8a6454", ("main",), domain="science"),
    "ehovy/race": PublicSet("2fec9fd81f1dc971569a9b729c43f2f0e6436637", ("high", "middle"), domain="reading"),
    "truthfulqa/truthful_qa": PublicSet(
        "741b8276f2d1982aa3d5b832d3ee81ed3b896490",
        ("multiple_choice",),
        domain="misconceptions",
        split="validation",
    ),
    "openai/gsm8k": PublicSet("e53f048856ff4f594e959d75785d2c2d37b678ee", ("main",), domain="mathematics"),
}


def load_hub(
    name: str,
    *,
    configs: Sequence[str] | None = None,
    split: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    round: str = "r000",
    reading: Reading | None = None,
    report: LoadReport | None = None,
) -> pa.Table:
    """Return a public set as a QUESTIONS table, downloading its Parquet files once into the hub's cache.

    Args:
        name: a key of :data:`PUBLIC_SETS`.
        configs: its configurations, for MMLU the subjects (``"anatomy"``); None takes the set's own default.
        split: ``test``, ``validation``, ...; None takes the set's own default.
        revision: a commit of the data repository; None takes the pinned one.
        cache_dir: where the hub client keeps its files, unless its default.
        round: the round that the questions belong to.
        reading: as of :func:`load_folder`.
        report: as of :func:`load_folder`.

    Raises:
        InputError: an unknown name, the hub client is missing, the hub cannot be reached, or the files that
            come are not as expected.
    """
    if name not in PUBLIC_SETS:
        raise InputError(
            f"unknown public set {name!r}", where="load_hub", fix=f"use {', '.join(PUBLIC_SETS)}"
        )
    known = PUBLIC_SETS[name]
    wanted, split = tuple(configs or known.configs), split or known.split
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise InputError(
            "the hub client is missing", where=name, fix="pip install huggingface_hub, or give a local folder"
        ) from None
    try:
        folder = snapshot_download(
            name,
            repo_type="dataset",
            revision=revision or known.revision,
            allow_patterns=[f"{config}/{split}-*.parquet" for config in wanted],
            cache_dir=cache_dir,
        )
    except Exception as error:  # whatever the client raises, the set is not to be had; say why
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"cannot be fetched ({reason[:200]})",
            where=f"{name} at {revision or known.revision}",
            fix="connect to the hub, unset HF_HUB_OFFLINE, or load a local copy: load_questions(<folder>)",
        ) from error
    return load_folder(
        folder,
        configs=wanted,
        split=split,
        source=name,
        domain=known.domain,
        round=round,
        reading=reading,
        report=report,
    )


def load_folder(
    folder: str | Path,
    *,
    configs: Sequence[str] | None = None,
    split: str = "test",
    source: str | None = None,
    domain: str | None = None,
    round: str = "r000",
    reading: Reading | None = None,
    report: LoadReport | None = None,
) -> pa.Table:
    """Return the questions under ``<folder>/<config>/<split>-*.parquet`` as a QUESTIONS table.

    A row that cannot be a question (published sets hold a few, such as two equal choices) is skipped and
    counted by its reason; the subject is the row's own, else its configuration.

    Args:
        folder: the local copy.
        configs: the configurations to read; None reads ``all`` if there is one, else every one.
        split: ``test``, ``validation``, ...
        source: the name of the source; the folder's name unless given.
        domain: the domain of questions that name none; else their subject.
        round: the round that the questions belong to.
        reading: what the columns mean, where their names do not say.
        report: filled with what was left out and decided; logged where there is none.

    Raises:
        InputError: no such folder, configuration or split, an unreadable file, or no row that is a question.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), fix="check the path")
    found = {path.parent.name for path in sorted(folder.glob(f"*/{split}-*.parquet"))}
    if not found:
        raise InputError(
            f"no {split!r} split in it", where=str(folder), fix=f"lay it out as <config>/{split}-*.parquet"
        )
    wanted = tuple(configs) if configs else ("all",) if "all" in found else tuple(sorted(found))
    if missing := [config for config in wanted if config not in found]:
        raise InputError(
            f"no {split!r} split of {', '.join(missing)}",
            where=str(folder),
            fix="use some of " + ", ".join(sorted(found)[:60]),
        )
    reading, told = reading or Reading(), report if report is not None else LoadReport()
    told.place = told.place or str(folder)
    opened: list[tuple[str, Opened]] = []
    refused: list[InputError] = []
    for config in wanted:
        for path in sorted((folder / config).glob(f"{split}-*.parquet")):
            for place, record in parquet_records(path):
                where = f"{path}, {place}"
                try:
                    record = map_columns(record, reading.columns, where) if reading.columns else record
                    record = {**record, "subject": _subject(record) or config}
                    opened.append((f"{config}, {place}", open_record(record, where=where)))
                except InputError as error:
                    refused.append(error)
    writings = answer_writings([one for _, one in opened], reading, told)
    rows: list[tuple[str, Row]] = []
    for place, one in opened:
        try:
            row = read_question(
                one, source=source or folder.name, domain=domain, round=round, writings=writings
            )
            rows.append((place, row))
        except InputError as error:
            refused.append(error)
    if not rows:
        raise refused[0] if refused else InputError("no rows", where=str(folder), fix="check the files")
    for refusal in refused:
        told.drop(refusal.what, str(refusal))
    if refused:
        told.note(f"skipped {len(refused)} rows that are no question")
    report_unread(
        folder, dict.fromkeys(name for _, one in opened for name in unread_columns(one.record, one.used))
    )
    table = keep_each_once(rows, told)
    if report is None:
        told.log()
    return table


def _subject(record: dict[str, Any]) -> Any:
    return next((value for _, value in found_in(record, "subject")), None)
