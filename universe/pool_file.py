"""The pool file: which experts are served, and why they were chosen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from warehouse import InputError, NotReadyError

if TYPE_CHECKING:  # serving reads the pool and needs no solver
    from universe.model.universe import Universe

PLAN_NAME = "universe.yaml"  # the last universe chosen, in the home directory
POOL_NAME = "pool.yaml"  # the one in use


def write_plan(home: Path, universe: Universe, reasons: Mapping[str, str]) -> Path:
    """Write the universe beside the pool in use, for :func:`apply_plan` to take over."""
    path = home / PLAN_NAME
    document = {
        "experts": list(universe.experts),
        "why": {name: reasons.get(name, "") for name in universe.experts},
        "status": universe.status,
        "expected_score": round(universe.expected_score, 6),
        "bound": round(universe.bound, 6),
        "expected_cost_usd": float(f"{universe.expected_cost_usd:.6g}"),
        "usd_per_hour": round(universe.usd_per_hour, 4),
        "replicas": dict(universe.replicas),
        "left_out": list(universe.left_out),
    }
    _write(path, document)
    return path


def apply_plan(home: Path, plan: Path | None = None) -> tuple[Path, list[str]]:
    """Make the last universe chosen the pool in use; returns the pool file and its experts.

    Args:
        home: whose pool.
        plan: file of another universe than the last one.

    Raises:
        InputError: no universe was chosen yet, or the file is damaged.
    """
    plan = plan or home / PLAN_NAME
    if not plan.exists():
        raise NotReadyError(
            "no universe has been chosen yet", where=str(plan), fix="run `leeroo universe` first"
        )
    document, experts = _read(plan)
    _write(home / POOL_NAME, document)
    return home / POOL_NAME, experts


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    os.replace(draft, path)


def read_pool(home: Path) -> list[str]:
    """Experts of the pool in use.

    Raises:
        InputError: no pool is in use, or the file is damaged.
    """
    path = home / POOL_NAME
    if not path.exists():
        raise NotReadyError(
            "no pool is in use",
            where=str(path),
            fix="run `leeroo universe`, then `leeroo universe apply`",
        )
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    fix = "run `leeroo universe`, then `leeroo universe apply`"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        experts = [str(name) for name in document["experts"]]
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise InputError("the file is damaged", where=str(path), fix=fix) from error
    if not experts:
        raise InputError("the pool is empty", where=str(path), fix=fix)
    return document, experts
