"""Counting tokens with the tokenizer of a model that lies on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from experts.backends.bundled import default_cache_dir, is_converted
from experts.catalogue.bundled_models import BUNDLED_PREFIX
from experts.catalogue.spec import ExpertSpec

_FILE = "tokenizer.json"

logger = logging.getLogger(__name__)


def count_local_tokens(spec: ExpertSpec, texts: Iterable[str]) -> int | None:
    """Return the tokens of texts by the expert's own tokenizer; None where that is not on this machine.

    Nothing is downloaded or converted for it. A chat template's marks are not among them.
    """
    path = _find_file(spec)
    tokenizer = None if path is None else _load(str(path))
    if tokenizer is None:
        return None
    encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return sum(map(len, encodings))


def _find_file(spec: ExpertSpec) -> Path | None:
    if spec.model.startswith(BUNDLED_PREFIX):
        folder = default_cache_dir() / "models" / spec.model.removeprefix(BUNDLED_PREFIX)
        path = folder / _FILE
        return path if path.is_file() and is_converted(spec.model, folder) else None
    if (path := Path(spec.model).expanduser() / _FILE).is_file():
        return path
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(spec.model, _FILE, revision=spec.revision)
    except (ImportError, ValueError):  # not installed, or no name on the hub
        return None
    return Path(found) if isinstance(found, str) else None


@lru_cache(maxsize=32)
def _load(path: str) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # of any kind that the library has; the estimate stands in
        logger.warning("%s is no tokenizer that can be read here: %s", path, error)
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
