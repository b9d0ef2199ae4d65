"""The operator's keys: where they are read, and that nothing which is shown holds one."""

from __future__ import annotations

import atexit
import base64
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from urllib.parse import quote

from experts.catalogue.spec import ExpertSpec
from warehouse import CannotRunError

#: Names a file that only its owner can read, with keys by the names of their variables.
KEYS_FILE = "LEEROO_KEYS_FILE"
#: What the names of the folders of such files begin with; the number of the process that made one follows.
KEY_FOLDERS = "leeroo-keys-"

_LEAST_SECRET = 4  # characters: what is shorter stands in ordinary words as well
_LONGEST_LINE = 300
_LOOKS_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|r8|nvapi|pplx|tgp|fw|key|ak|co|dp|sess|glpat|ghp|xox[a-z])[-_][\w*.\-]{6,}"
    r"|\bAIza[\w\-*]{10,}|\bAKIA\w{12,}|\beyJ[\w\-]{5,}(?:\.[\w\-]*)*"
    r"|\b(?:bearer|basic)\s+[\w\-.~+/=*]{4,}"
    r"|(?<![\w*])[\w.\-]*\*{3,}[\w.\-*]*"
    r"|\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{32,}\b",
    re.IGNORECASE,
)
_NAMED_SECRET = re.compile(
    r"(?i)\b((?:x-)?(?:api[-_ ]?key|apikey|access[-_]token|auth[-_]token|authorization"
    r"|password|secret)[\"']?\s*[:=]\s*[\"']?)"
    r"(?!\*\*\*)[^\s\"',;&)}]{4,}"
)
_KEY_OF_ADDRESS = re.compile(
    r"(?i)([?&](?:key|token|sig|signature|api[-_]?key|code)=)[^\s&\"']+|(?<=://)[^\s/@\"']+:[^\s/@\"']+(?=@)"
)


def read_key(spec: ExpertSpec) -> str:
    """Return the key of an expert's API without blanks around it; empty for a server that needs none.

    It stands in the environment, or was handed over by the process that started this one.

    Raises:
        CannotRunError: the variable that ``api_key_env`` names is not set, or holds what no HTTP header can.
    """
    if spec.api_key_env is None:
        return ""
    key = (handed_over(spec.api_key_env) or os.environ.get(spec.api_key_env, "")).strip()
    if not key:
        raise CannotRunError(
            f"expert {spec.name!r} needs a key, and {spec.api_key_env} is not set",
            fix=f"export {spec.api_key_env}=...",
        )
    for at, char in enumerate(key, 1):
        if not "!" <= char <= "~":
            what = (
                "a blank or line break"
                if char.isspace()
                else "a letter outside ASCII"
                if char.isprintable()
                else "a control character"
            )
            raise CannotRunError(
                f"the key of expert {spec.name!r} in {spec.api_key_env} holds {what} (character {at})",
                fix=f"export {spec.api_key_env} again with the key alone",
            )
    return key


def hand_over_keys(specs: Iterable[ExpertSpec], also: Iterable[str] = ()) -> dict[str, str]:
    """Return environment variables by which other processes of this machine find the keys of experts.

    Ray writes the environment it is told of into logs that all can read. So the keys go into a file of mode
    600 in a folder of mode 700, which is removed when this process ends, and only the file's name is told.
    Processes on other machines need the keys in their own environment. Empty where no key is known here.

    Args:
        specs: experts whose keys are meant.
        also: names of other variables that hold secrets.
    """
    names = {spec.api_key_env for spec in specs if spec.api_key_env} | set(also)
    keys = {name: os.environ[name] for name in sorted(names) if os.environ.get(name)}
    if not keys:
        return {}
    path = _key_folder(os.getpid()) / "keys.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(known | keys, file)
    fresh.replace(path)
    return {KEYS_FILE: str(path)}


def key_folders_place() -> Path:
    """Where the folders of keys lie, of all processes of this user."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())


@cache
def _key_folder(process: int) -> Path:
    # Named by its process: where that is killed, its folder is known to be of nobody any more.
    folder = Path(tempfile.mkdtemp(prefix=f"{KEY_FOLDERS}{process}-", dir=key_folders_place()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def handed_over(name: str) -> str | None:
    """Return a secret that the process which started this one handed over; None where it did not."""
    if not (path := os.environ.get(KEYS_FILE)):
        return None
    try:
        found = json.loads(Path(path).read_text()).get(name)
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return a text without the secrets, as they are or as addresses and headers write them.

    To be called before a text is cut: half a secret is not found.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        if len(secret) >= _LEAST_SECRET:
            for form in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()):
                text = text.replace(form, "***")
    return text


def scrub(text: str, secrets: Iterable[str] = (), longest: int = _LONGEST_LINE) -> str:
    """Return one printable line of a text, cut short, without the secrets and anything like a key."""
    text = hide(text, secrets)[: 50 * longest]
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    line = _LOOKS_SECRET.sub("***", line)
    line = _NAMED_SECRET.sub(r"\1***", line)
    line = _KEY_OF_ADDRESS.sub(lambda found: f"{found[1] or ''}***", line)
    return line if len(line) <= longest else line[: longest - 1] + "…"
