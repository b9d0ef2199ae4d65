"""An environment of the clients' own, made once in the cache: the project does not depend on them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import NamedTuple

MATRIX = Path(__file__).parent / "matrix"
_FILES = ("requirements.txt", "package.json")


class ClientEnvironment(NamedTuple):
    """Where the clients are; ``why`` says why they are not."""

    home: Path
    why: str = ""

    @property
    def python(self) -> Path:
        """Their Python."""
        return self.home / "venv" / "bin" / "python"

    def variables(self, url: str, key: str) -> dict[str, str]:
        """What a script gets to see: the endpoint, the programs, and no key but this one."""
        programs = [self.home / "node_modules" / ".bin", self.home / "venv" / "bin"]
        path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        return {
            "PATH": path,
            "HOME": str(self.home),
            "ENDPOINT_URL": url,
            "ENDPOINT_KEY": key,
            "AI_SDK_LOG_WARNINGS": "false",
        }

    def node_version(self, package: str) -> str:
        """The version of a package of Node's that is installed."""
        told = (self.home / "node_modules" / package / "package.json").read_text(encoding="utf-8")
        return str(json.loads(told)["version"])

    def python_version(self, package: str) -> str:
        """The version of a package of Python's that is installed."""
        (site,) = (self.home / "venv" / "lib").glob("python*/site-packages")
        (found,) = site.glob(f"{package.replace('-', '_')}-*.dist-info")
        return PathDistribution(found).version


def make_environment(cache: Path) -> ClientEnvironment:
    """Make it, unless it is there: the clients of Python and of Node, at the versions that the files name."""
    told = b"".join((MATRIX / name).read_bytes() for name in _FILES)
    home = cache / f"clients-{hashlib.sha256(told).hexdigest()[:12]}"
    if (home / "done").exists():
        return ClientEnvironment(home)
    if shutil.which("npm") is None:
        return ClientEnvironment(home, "npm is not installed")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for name in _FILES:
        shutil.copy(MATRIX / name, home)
    python = str(home / "venv" / "bin" / "python")
    for step in (
        [sys.executable, "-m", "venv", str(home / "venv")],
        [python, "-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"],
        ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"],
    ):
        try:
            done = subprocess.run(step, cwd=home, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            return ClientEnvironment(home, f"{' '.join(step[:4])} was not done in five minutes")
        if done.returncode:
            return ClientEnvironment(home, f"{' '.join(step[:4])} failed: {done.stderr[-1500:]}")
    (home / "done").touch()
    return ClientEnvironment(home)
