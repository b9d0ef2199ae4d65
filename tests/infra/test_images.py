"""What the images hold and how they start: files left out, the PATH of a login shell, versions."""

import re
import subprocess
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
    kept = ("pyproject.toml", "experts/default.yaml", "infra/mlflow/env.example", "serve/ledger/ledger.py")
    for needed in kept:
        assert not is_left_out(needed, patterns), needed


@pytest.mark.parametrize("mode", ["cpu", "gpu"])
def test_a_login_shell_finds_the_environment(mode, tmp_path):
    text = (INFRA / f"Dockerfile.{mode}").read_text(encoding="utf-8")
    before_user, _, _ = text.partition("\nUSER ")  # /etc belongs to root
    (command,) = re.findall(r"^RUN (echo .+) > /etc/profile\.d/\S+\.sh$", before_user, re.M)
    subprocess.run(["bash", "-c", f"{command} > {tmp_path}/leeroo.sh"], check=True)
    debian = f"PATH=/usr/local/bin:/usr/bin:/bin; . {tmp_path}/leeroo.sh; echo $PATH"
    path = subprocess.run(["bash", "-c", debian], capture_output=True, text=True, check=True).stdout
    (image_path,) = re.findall(r"^ENV PATH=(\S+?):\$PATH", text, re.M)
    assert path.strip() == f"{image_path}:/usr/local/bin:/usr/bin:/bin"
