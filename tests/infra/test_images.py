"""What the images hold and how they start: files left out, the PATH of a login shell, versions."""

from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"


def is_left_out(path, patterns):
    """Whether Docker leaves a file out; reads `**/name` (anywhere) and `name` (at the root)."""
    parts = PurePosixPath(path).parts
    return any(
        any(fnmatch(part, pattern.removeprefix("**/")) for part in parts)
        if pattern.startswith("**/")
        else parts[0] == pattern
        for pattern in patterns
    )


@pytest.mark.parametrize("mode", ["cpu", "gpu"])
def test_secrets_stay_out_of_the_images(mode):
    lines = (INFRA / f"Dockerfile.{mode}.dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert all("/" not in pattern.removeprefix("**/") for pattern in patterns)  # what is_left_out can read
    for secret in (
        "infra/mlflow/.env",
        ".env",
        ".env.production",
        "infra/mlflow/.leeroo/ledger.db",
        "state/ledger.db-wal",
        ".leeroo/ledger.db",
        "infra/tls.key",
        "infra/server.pem",
        ".aws/credentials",
        ".ray/auth_token",
        ".git/config",
    ):
        assert is_left_out(secret, patterns), secret
    for needed in ("pyproject.toml", "experts/default.yaml", "infra/mlflow/env.example", "serve/ledger.py"):
        assert not is_left_out(needed, patterns), needed
