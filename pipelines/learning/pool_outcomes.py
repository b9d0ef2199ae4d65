"""The outcomes of a pool: experts named by options, by a pool file, or by router versions."""

from __future__ import annotations

from pathlib import Path

from warehouse import InputError, Outcomes, load_outcomes, split_names
from warehouse.home import Home


def load_pool_outcomes(place: Home, pool: str | None, experts: str | None, source: str | None) -> Outcomes:
    """Load the outcomes that the options ask for.

    Args:
        place: whose warehouse.
        pool: ``FILE`` or ``FILE:NAME`` of a pool.
        experts: names or globs, by commas.
        source: sources of questions, by commas.

    Raises:
        InputError: no such pool file or name, experts named in both ways, or no outcomes.
    """
    if pool and experts:
        raise InputError("--pool and --experts both name the experts", fix="give one of them")
    wanted, sources = (split_names(experts) or None), (split_names(source) or None)
    if pool:
        wanted, benchmark = read_pool_file(pool)
        sources = sources or ([benchmark] if benchmark else None)
    return load_outcomes(place.warehouse(), experts=wanted, sources=sources)


def read_pool_file(pool: str) -> tuple[list[str], str | None]:
    """Names of a pool's experts, and the benchmark that its file names, if any.

    Args:
        pool: ``FILE``, whose list ``experts`` is meant, or ``FILE:NAME``.

    Raises:
        InputError: no such file or name, or no list of experts there.
    """
    import yaml

    name: str | None = None
    path = Path(pool)
    if not path.is_file() and ":" in pool:
        file, _, name = pool.rpartition(":")
        path = Path(file)
    if not path.is_file():
        raise InputError("there is no such pool file", where=str(path), fix="give --pool FILE or FILE:NAME")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"not YAML: {str(error).splitlines()[0]}", where=str(path)) from error
    if name is not None:
        if not isinstance(content, dict) or name not in content:
            known = ", ".join(map(str, content)) if isinstance(content, dict) else "none"
            raise InputError(f"there is no pool {name!r}", where=str(path), fix=f"use one of: {known}")
        content = content[name]
    listed = content.get("experts") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed:
        raise InputError(
            "no list `experts`",
            where=str(path),
            fix="name a pool as FILE:NAME, or add a list of expert names",
        )
    names = [str(item["name"] if isinstance(item, dict) and "name" in item else item) for item in listed]
    benchmark = content.get("benchmark")
    return names, str(benchmark) if benchmark else None


def champion_pool(place: Home, experts: list[str]) -> list[str]:
    """The experts of a version and of the champion that it will be compared with."""
    from orchestrator.versions.mlflow_registry import champion_version, load_version

    former = champion_version(place.mlflow_uri)
    champion = load_version(place.mlflow_uri, former).info["experts"] if former else []
    return list(dict.fromkeys([*champion, *experts]))
