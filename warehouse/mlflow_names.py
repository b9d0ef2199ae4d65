"""What MLflow takes for a name: every name of ours is made into one here, no two into the same."""

from __future__ import annotations

import hashlib
import posixpath
import re

#: Characters that MLflow keeps of a name and of a value.
LONGEST_NAME = 250
LONGEST_PARAM = 6_000
LONGEST_TAG = 5_000

_REFUSED = re.compile(r"[^\w\-. :/]")
_REFUSED_OF_MODELS = re.compile(r"[^\w\-. ]")


def valid_name(name: str) -> str:
    """The name of a metric, parameter or tag as MLflow takes it; most names stay as they are.

    What it refuses becomes ``_``, and a mark made of the whole name then keeps two names apart.

    >>> valid_name("stack/accuracy"), valid_name("knn+domain/accuracy")
    ('stack/accuracy', 'knn_domain/accuracy.97d9')
    """
    return _made_valid(name, _REFUSED)


def valid_model_name(name: str) -> str:
    """The name of a registered model as MLflow takes it: without slashes and colons too."""
    return _made_valid(name, _REFUSED_OF_MODELS)


def valid_param(value: object) -> str:
    """A parameter's value as text, cut to what MLflow stores."""
    return cut(str(value), LONGEST_PARAM)


def valid_tag(value: object) -> str:
    """A tag's value as text, cut to what MLflow stores."""
    return cut(str(value), LONGEST_TAG)


def cut(text: str, longest: int) -> str:
    """The text, ending in an ellipsis where it was too long; half characters of UTF-16 become ``?``."""
    whole = text.encode("utf-8", "replace").decode()
    return whole if len(whole) <= longest else f"{whole[: longest - 4]} ..."


def _made_valid(name: str, refused: re.Pattern[str]) -> str:
    made = refused.sub("_", name)
    if _is_path(made) and made == name and len(made) <= LONGEST_NAME and made.strip():
        return name
    parts = [part.replace("..", "_") for part in made.split("/") if part not in ("", ".", "..")]
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:4]
    kept = "/".join(parts)[: LONGEST_NAME - 5].rstrip("/") or "_"
    return f"{kept}.{mark}"


def _is_path(name: str) -> bool:
    """MLflow refuses what is not the shortest way to write itself as a relative path."""
    return name not in ("", ".") and posixpath.normpath(name) == name and not name.startswith(("..", "/"))
