"""The pool file: which experts are served, and why they were chosen."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from universe.model.frontier_point import FrontierPoint
from warehouse import InputError, NotReadyError

if TYPE_CHECKING:  # serving reads the pool and needs no solver
    from universe.model.universe import Universe

PLAN_NAME = "universe.yaml"  # the last universe chosen, in the home directory
POOL_NAME = "pool.yaml"  # the one in use
_CHOOSE = "run `leeroo universe`, then `leeroo universe apply`"


@dataclass(frozen=True)
class PoolFile:
    """A pool as a file names it."""

    experts: tuple[str, ...]  # each once
    benchmark: str | None  # whose questions it is for, where the file says so
    document: dict[str, Any]  # all that the file says of it


def write_plan(
    home: Path, universe: Universe, reasons: Mapping[str, str], frontier: Sequence[FrontierPoint] = ()
) -> Path:
    """Write the universe beside the pool in use, for :func:`apply_plan` to take over.

    Args:
        home: whose.
        universe: that was chosen.
        reasons: why each of its experts is in.
        frontier: the best sets at other budgets, where they were looked for; the report draws them.
    """
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
    if frontier:
        document["frontier"] = [asdict(point) | {"experts": list(point.experts)} for point in frontier]
    _write(path, document)
    return path


def apply_plan(home: Path, plan: Path | None = None) -> tuple[Path, list[str]]:
    """Make the last universe chosen the pool in use; returns the pool file and its experts.

    Args:
        home: whose pool.
        plan: file of another universe than the last one.

    Raises:
        NotReadyError: no universe was chosen yet.
        InputError: the file is damaged.
    """
    plan = plan or home / PLAN_NAME
    if not plan.exists():
        raise NotReadyError(
            "no universe has been chosen yet", where=str(plan), fix="run `leeroo universe` first"
        )
    pool = read_pool_file(plan, fix=_CHOOSE)
    _write(home / POOL_NAME, pool.document)
    return home / POOL_NAME, list(pool.experts)


def read_frontier(document: Mapping[str, Any]) -> tuple[FrontierPoint, ...]:
    """Return the frontier that a pool's document holds; empty where it has none that can be read."""
    try:
        return tuple(
            FrontierPoint(
                float(point["budget_usd"]),
                tuple(map(str, point["experts"])),
                float(point["expected_score"]),
                float(point["expected_cost_usd"]),
                float(point["bound"]),
            )
            for point in document.get("frontier") or ()
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    os.replace(draft, path)


def read_pool(home: Path) -> list[str]:
    """Experts of the pool in use.

    Raises:
        NotReadyError: no pool is in use.
        InputError: the file is damaged.
    """
    path = home / POOL_NAME
    if not path.exists():
        raise NotReadyError(
            "no pool is in use",
            where=str(path),
            fix=_CHOOSE,
        )
    return list(read_pool_file(path, fix=_CHOOSE).experts)


def read_pool_file(path: Path, name: str | None = None, *, fix: str = "correct the file") -> PoolFile:
    """Read a pool: a mapping with a list ``experts`` of names, or of mappings with a ``name``.

    Args:
        path: of the YAML file.
        name: of one of several pools in it; None: the file is one pool.
        fix: what to do about a bad file.

    Raises:
        InputError: it cannot be read, is no YAML, has no pool of that name, or the pool names no experts.
    """
    where = str(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the pool cannot be read ({error.strerror})", where=where, fix=fix) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"the file is damaged, not YAML: {lines[0]}", where=where, fix=fix) from None
    if name is not None:
        if not isinstance(content, dict) or name not in content:
            known = ", ".join(map(str, content)) if isinstance(content, dict) else "none"
            raise InputError(f"there is no pool {name!r}", where=where, fix=f"use one of: {known}")
        content, where = content[name], f"{where}, pool {name!r}"
    listed = content.get("experts") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise InputError("the file is damaged: it has no list `experts`", where=where, fix=fix)
    found = [item.get("name") if isinstance(item, dict) else item for item in listed]
    for position, expert in enumerate(found, 1):
        if isinstance(expert, bool) or not isinstance(expert, str | int) or not str(expert).strip():
            raise InputError(f"entry {position} of `experts` is no name: {expert!r}", where=where, fix=fix)
    if not found:
        raise InputError("the pool is empty", where=where, fix=fix)
    benchmark = content.get("benchmark")
    return PoolFile(tuple(dict.fromkeys(map(str, found))), str(benchmark) if benchmark else None, content)
