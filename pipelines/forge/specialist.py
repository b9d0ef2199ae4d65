"""The finished adapter: registered in MLflow with its lineage, and in a catalogue beside its base."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experts import ExpertSpec
from experts.catalogue_file import Catalogue, load_catalogue
from pipelines.forge.gap import TargetGap
from pipelines.forge.licences import Licence
from warehouse import InputError
from warehouse.mlflow_runs import OpenRun

#: Names of registered adapters begin so; the rest is the gap's.
MODEL_PREFIX = "leeroo-specialist-"


@dataclass(frozen=True)
class Specialist:
    """An adapter as an expert."""

    name: str
    folder: Path
    catalogue: Path  # the base's, with the specialist in it
    model: str  # in MLflow
    version: str
    run_id: str


def keep_adapter(adapter: Path, home_folder: Path) -> Path:
    """Copy an adapter to a folder named by its content, so that another one is another expert."""
    digest = hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()[:12]
    target = home_folder / f"adapter-{digest}"
    if not target.is_dir():
        beside = target.with_suffix(".tmp")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(adapter, beside)
        beside.rename(target)
    return target


def register_adapter(
    run: OpenRun,
    gap: TargetGap,
    folder: Path,
    *,
    base: ExpertSpec,
    licence: Licence,
    facts: Mapping[str, Any],
) -> tuple[str, str]:
    """Keep the adapter with its run and register it as the next version; return model and version."""
    from mlflow.exceptions import MlflowException

    name = MODEL_PREFIX + gap.slug
    for file in sorted(folder.iterdir()):
        run.log_file(file, "adapter")
    try:
        run.client.create_registered_model(name, description=f"LoRA adapters that close the gap {gap.name}")
    except MlflowException:  # it is there
        run.client.get_registered_model(name)
    source = f"{run.client.get_run(run.id).info.artifact_uri}/adapter"
    lineage = {
        "gap": gap.name, "cells": json.dumps(gap.cells), "base": base.model, "base_expert": base.name,
        "base_version": base.version, "licence": licence.note,
    } | {key: str(value) for key, value in facts.items()}  # fmt: skip
    version = run.client.create_model_version(
        name, source, run.id, tags=lineage, description=f"{licence.note}. Gap: {gap.name}"
    )
    return name, str(version.version)


def specialist_spec(base: ExpertSpec, name: str, folder: Path, gap: TargetGap) -> ExpertSpec:
    """The expert that an adapter makes of its base: asked in the same way, at the base's price."""
    tags = tuple(dict.fromkeys((*base.tags, "specialist", gap.slug)))
    return base.model_copy(update={"name": name, "lora": str(folder), "tags": tags})


def write_catalogue(known: Catalogue, spec: ExpertSpec, target: Path, *, note: str) -> Path:
    """Write the catalogue with one more expert; one of its name is replaced.

    Raises:
        InputError: the catalogue as written cannot be read again; a fault of ours.
    """
    content = yaml.safe_load(known.path.read_text(encoding="utf-8"))
    base = next(entry for entry in content["experts"] if entry["name"] != spec.name and _same(entry, spec))
    entry = {**base, "name": spec.name, "lora": spec.lora, "tags": list(spec.tags)}
    kept = [one for one in content["experts"] if one["name"] != spec.name]
    content["experts"] = [*kept, entry]
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(".tmp")
    header = f"# {known.path.name} with the specialist {spec.name}: {note}.\n"
    beside.write_text(header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    beside.replace(target)
    if load_catalogue(target).get(spec.name).lora != spec.lora:
        raise InputError("the specialist is not in the catalogue as written", where=str(target))
    return target


def _same(entry: Mapping[str, Any], spec: ExpertSpec) -> bool:
    return entry.get("model") == spec.model and not entry.get("lora")
