"""What Ray says that nobody can act on stays off the terminal; what somebody can does not."""

import logging
import os
import subprocess
import sys

import pytest

from pipelines.ray_noise import without_ray_noise

LEVEL = "RAY_BACKEND_LOG_LEVEL"
SET = "[2026-01-01 00:00:00,000 I 1 1] logging.cc:303: Set ray log level from environment variable X to 3\\n"


def test_that_a_token_is_asked_for_is_no_news_and_that_none_is_asked_for_is():
    from ray._private.authentication import authentication_token_setup as setup

    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    setup.logger.addHandler(handler)
    try:
        with without_ray_noise():
            setup._warn_token_auth_enabled()
            assert said == []
            setup._warn_token_auth_disabled()
    finally:
        setup.logger.removeHandler(handler)
    assert len(said) == 1
    assert "is disabled" in said[0]


def test_ray_is_told_a_level_that_its_other_processes_are_not_told():
    """Native code reads the process's environment; what is started gets a copy of `os.environ`."""
    program = f"""
import ctypes, os, subprocess, sys
from pipelines.ray_noise import without_ray_noise
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
tell = ["-c", "import os; print(os.environ.get('{LEVEL}'))"]
with without_ray_noise():
    print(libc.getenv(b"{LEVEL}"), flush=True)
    subprocess.run([sys.executable, *tell], env=os.environ.copy())
    os.write(2, b"before\\n{SET}after\\n")
    print("python", file=sys.stderr)
print(libc.getenv(b"{LEVEL}"))
os.write(2, b"{SET}")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["b'fatal'", "None", "None"], done.stderr
    assert done.stderr == "before\nafter\npython\n" + SET.replace("\\n", "\n")


def test_a_level_that_somebody_set_stands(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setenv(LEVEL, "debug")
    with without_ray_noise():
        assert os.environ[LEVEL] == "debug"
        os.write(2, SET.encode())
    assert "Set ray log level" in capfd.readouterr().err
